/* network.c - does this network hold that address? (pure)
 * Addresses are 16 bytes, IPv4 as ::ffff:a.b.c.d (RFC 4291 section 2.5.5.2), so that a client on a
 * dual-stack socket is the same client. The families stay apart all the same: 0.0.0.0/0 holds no
 * IPv6 address and ::/0 no IPv4 one. */
#include "auth/auth_priv.h"

#include <arpa/inet.h>
#include <stdio.h>

#define IPV4_OFFSET_BITS 96

static const uint8_t ipv4_prefix[12] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff };

bool network_is_ipv4(const uint8_t address[static 16])
{
    return memcmp(address, ipv4_prefix, sizeof(ipv4_prefix)) == 0;
}

bool network_parse_address(const char *text, uint8_t address[static 16])
{
    if (inet_pton(AF_INET6, text, address) == 1)
        return true;
    memcpy(address, ipv4_prefix, sizeof(ipv4_prefix));
    return inet_pton(AF_INET, text, address + sizeof(ipv4_prefix)) == 1;
}

void network_format_address(const uint8_t address[static 16], char text[static NETWORK_TEXT_BYTES])
{
    bool ipv4 = network_is_ipv4(address);

    if (inet_ntop(ipv4 ? AF_INET : AF_INET6, ipv4 ? address + sizeof(ipv4_prefix) : address, text,
                  NETWORK_TEXT_BYTES) == NULL)
        text[0] = '\0';
}

/* Zeroes all bits behind the first `bits`. */
static void mask(uint8_t address[static 16], unsigned bits)
{
    for (unsigned i = 0; i < 16; i++) {
        unsigned kept = bits > 8 * i ? bits - 8 * i : 0;
        if (kept < 8)
            address[i] = (uint8_t)(address[i] & (0xff00u >> kept));
    }
}

bool network_parse(struct slice text, struct network *network)
{
    char room[NETWORK_TEXT_BYTES];
    struct slice bits = text, address = slice_cut(&bits, '/');
    uint64_t count = 0;

    if (address.len == 0 || address.len >= sizeof(room) || slice_find(address, '\0') != SLICE_NONE)
        return false;
    memcpy(room, address.data, address.len);
    room[address.len] = '\0';
    if (!network_parse_address(room, network->address))
        return false;
    bool dotted = slice_find(address, ':') == SLICE_NONE;
    unsigned most = dotted ? 32 : 128;
    if (bits.data != NULL && (bits.len > 3 || !slice_to_u64(bits, &count) || count > most))
        return false;
    network->bits = bits.data == NULL ? 128 : (unsigned)count + (dotted ? IPV4_OFFSET_BITS : 0);
    network->ipv4 = network->bits >= IPV4_OFFSET_BITS && network_is_ipv4(network->address);
    mask(network->address, network->bits);
    return true;
}

void network_format(const struct network *network, char text[static NETWORK_TEXT_BYTES])
{
    network_format_address(network->address, text);
    if (network->bits == 128)
        return;
    size_t len = strlen(text);
    snprintf(text + len, NETWORK_TEXT_BYTES - len, "/%u",
             network->bits - (network->ipv4 ? IPV4_OFFSET_BITS : 0));
}

bool network_holds(const struct network *network, const uint8_t address[static 16])
{
    uint8_t masked[16];

    if (network->ipv4 != network_is_ipv4(address))
        return false;
    memcpy(masked, address, sizeof(masked));
    mask(masked, network->bits);
    return memcmp(masked, network->address, sizeof(masked)) == 0;
}
