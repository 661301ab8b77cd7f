# read_mail.pl - what Email::MIME finds in messages: one JSON object a line for each file named. A second
# reader, in another language, for what is composed (tests/system/emails.py).
use strict;
use warnings;
use Email::Address::XS;
use Email::MIME;
use Encode ();
use JSON::PP;

my $json = JSON::PP->new->utf8->canonical;

sub addresses {
    my ($email, $name) = @_;
    my @raw = $email->header_raw($name);
    return [map { [Encode::decode('MIME-Header', $_->phrase // ''), $_->address // 'INVALID'] }
            map { Email::Address::XS->parse($_) } @raw];
}

sub parts {
    my ($part, $found) = @_;
    my @inside = $part->subparts;
    if (@inside) {
        parts($_, $found) for @inside;
        return;
    }
    my $disposition = $part->header_raw('Content-Disposition') // '';
    my ($type) = split /;/, lc($part->content_type // 'text/plain');
    my $id = $part->header_raw('Content-ID') // '';
    push @$found, {
        type => $type, disposition => (split /;/, $disposition)[0] // '', id => $id,
        filename => $disposition =~ /filename/ ? $part->filename : undef, hex => unpack('H*', $part->body),
    };
}

for my $path (@ARGV) {
    open my $file, '<:raw', $path or die "$path: $!";
    my $email = Email::MIME->new(do { local $/; <$file> });
    my @parts;
    parts($email, \@parts);
    print $json->encode({
        subject => $email->header_str('Subject'), custom => $email->header_str('X-Custom'),
        from => addresses($email, 'From'), to => addresses($email, 'To'), cc => addresses($email, 'Cc'),
        reply_to => addresses($email, 'Reply-To'), parts => \@parts,
    }), "\n";
}
