/* config_table.c - which settings are there? */
#include "relay/config_table.h"

#include "relay/base/macros.h"

const struct config_setting config_settings[] = {
    { "", "hostname", CONFIG_NAME, false, "",
      "our name in the greeting, in Received and Message-ID; the machine's own when not set" },
    { "", "state_dir", CONFIG_TEXT, false, "/var/lib/latchpost",
      "folder of keys.db, queue.db and the pepper; made (0700) when missing" },
    { "", "runtime_dir", CONFIG_TEXT, false, "", "folder of control.sock; state_dir when not set" },
    { "", "log_level", CONFIG_LEVEL, false, "info", "what is logged: debug, info, warning, error" },
    { "", "log_format", CONFIG_FORM, false, "logfmt", "logfmt or json, on standard error" },
    { "", "workers", CONFIG_COUNT, false, "0", "event-loop threads for mail; 0: one a core" },
    { "", "grace", CONFIG_DURATION, false, "30s",
      "at SIGTERM, how long sessions and deliveries under way may finish" },
    { "", "watchdog", CONFIG_DURATION, false, "5m",
      "the process ends when one of its threads is stuck for so long; 0: never" },
    { "", "retention", CONFIG_DURATION, false, "7d",
      "how long a message that has ended leaves a record; 0: none" },
    { "", "free_space", CONFIG_SIZE, false, "64M",
      "new mail is refused for now (452) when the state_dir's disk has less room than this, or "
      "than "
      "1.5 messages of the largest size" },
    { "", "hide_client_address", CONFIG_BOOL, false, "false",
      "leave the client's address out of Received" },
    { "", "key_prefix", CONFIG_PREFIX, false, "lpk_", "how live keys begin" },
    { "", "test_key_prefix", CONFIG_PREFIX, false, "lpt_",
      "how test keys begin: their mail is accepted and recorded, never relayed" },
    { "", "user", CONFIG_TEXT, false, "",
      "whom a process started as root becomes; the owner of state_dir when not set" },
    { "", "fence", CONFIG_FENCE, false, "auto",
      "Landlock and seccomp: auto (as far as the kernel has them), required or off" },
    { "", "pepper_file", CONFIG_FILE, false, "",
      "file of the pepper, 32 bytes; pepper in state_dir when not set" },
    { "", "default_upstreams", CONFIG_TEXT, true, "",
      "where mail goes that no route matches, in this order; all upstreams when not set" },

    { "tls", "certificate", CONFIG_FILE, false, "",
      "PEM file with the certificate chain; self-signed in state_dir when not set" },
    { "tls", "key", CONFIG_FILE, false, "", "PEM file with its key, not readable by others" },

    { "listener", "address", CONFIG_ADDRESS, false, "*", "IP address, or * for all" },
    { "listener", "port", CONFIG_PORT, false, "587", "TCP port" },
    { "listener", "tls", CONFIG_TLS, false, "starttls",
      "starttls (port 587), implicit (port 465) or none" },
    { "listener", "auth_without_tls", CONFIG_BOOL, false, "false",
      "allow AUTH in the clear; only on a loopback address" },

    { "http", "address", CONFIG_ADDRESS, false, "127.0.0.1", "IP address, or * for all" },
    { "http", "port", CONFIG_PORT, false, "8025", "TCP port" },
    { "http", "tls", CONFIG_TLS, false, "implicit",
      "implicit, or none (only on a loopback address)" },
    { "http", "body_size", CONFIG_SIZE, false, "0",
      "largest request body that sends mail, and of others if less than 1M, which is their limit: "
      "413 above; 0: 4/3 of limits.message_size (base64) and 1M" },
    { "http", "body_memory", CONFIG_SIZE, false, "256M",
      "for all bodies over 64K at once, each of which counts twice: 503 and Retry-After beyond; an "
      "account has three quarters at most, and less beside others" },
    { "http", "connections", CONFIG_COUNT, false, "1000", "open connections: more are closed" },
    { "http", "connections_per_address", CONFIG_COUNT, false, "100",
      "open connections from one address (IPv6: its /64): more are closed; loopback is free" },
    { "http", "head_time", CONFIG_DURATION, false, "30s", "time for a whole request head" },
    { "http", "idle_time", CONFIG_DURATION, false, "75s", "time between two requests" },

    { "dns", "servers", CONFIG_TEXT, true, "",
      "name servers for the verification of domains, such as 192.0.2.1 or [2001:db8::1]:5353; the "
      "system's when not set" },
    { "dns", "timeout", CONFIG_DURATION, false, "5s", "one look-up with all its tries" },

    { "upstream", "host", CONFIG_NAME, false, "", "host name or IP address of the mail service" },
    { "upstream", "port", CONFIG_PORT, false, "587", "its TCP port" },
    { "upstream", "url", CONFIG_TEXT, false, "",
      "instead of host: maildir:PATH stores messages as files, for trying things out" },
    { "upstream", "tls", CONFIG_TLS, false, "starttls", "starttls, implicit or none" },
    { "upstream", "tls_verify", CONFIG_BOOL, false, "true",
      "check the certificate's chain and name; false only for tests" },
    { "upstream", "ca_file", CONFIG_FILE, false, "", "PEM file of CAs instead of the system's" },
    { "upstream", "client_certificate", CONFIG_FILE, false, "", "PEM file shown to the upstream" },
    { "upstream", "client_key", CONFIG_FILE, false, "", "PEM file with its key" },
    { "upstream", "username", CONFIG_TEXT, false, "", "AUTH user name; no AUTH when not set" },
    { "upstream", "password", CONFIG_TEXT, false, "",
      "AUTH password, best as \"${NAME}\" from the environment" },
    { "upstream", "password_file", CONFIG_FILE, false, "",
      "file whose first line is the AUTH password" },
    { "upstream", "max_connections", CONFIG_COUNT, false, "20", "connections at once, in all" },
    { "upstream", "max_messages_per_connection", CONFIG_COUNT, false, "100",
      "then the connection is closed and a new one opened" },
    { "upstream", "rate", CONFIG_RATE, false, "0",
      "messages, such as 10/s or 300/min; 0: no ceiling" },
    { "upstream", "connect_timeout", CONFIG_DURATION, false, "30s", "connecting" },
    { "upstream", "banner_timeout", CONFIG_DURATION, false, "5m", "the greeting" },
    { "upstream", "command_timeout", CONFIG_DURATION, false, "5m",
      "the answer to EHLO, STARTTLS, AUTH, MAIL, RCPT" },
    { "upstream", "data_timeout", CONFIG_DURATION, false, "2m", "the answer to DATA" },
    { "upstream", "block_timeout", CONFIG_DURATION, false, "3m", "each block of the message" },
    { "upstream", "dot_timeout", CONFIG_DURATION, false, "10m", "the answer to the final dot" },
    { "upstream", "idle_timeout", CONFIG_DURATION, false, "30s",
      "how long a connection waits for the next message" },
    { "upstream", "connection_age", CONFIG_DURATION, false, "50s",
      "then a connection is left after its message, so that a changed address is followed" },
    { "upstream", "failures_before_rest", CONFIG_COUNT, false, "3",
      "connections that fail in a row, none working: then it rests" },
    { "upstream", "rest_first", CONFIG_DURATION, false, "5s",
      "its first rest; twice as long after each further failure ..." },
    { "upstream", "rest_longest", CONFIG_DURATION, false, "60s", "... up to this" },
    { "upstream", "rest_after_login", CONFIG_DURATION, false, "60s",
      "the rest after a refused login" },

    { "route", "account", CONFIG_TEXT, true, "", "accounts it is for; any when not set" },
    { "route", "key", CONFIG_TEXT, true, "", "key ids it is for; any when not set" },
    { "route", "sender_domain", CONFIG_TEXT, true, "",
      "domains of the envelope sender, exact or *.domain; any when not set" },
    { "route", "upstreams", CONFIG_TEXT, true, "", "where its mail goes, in this order" },

    { "limits", "message_size", CONFIG_SIZE, false, "25M", "largest message: 552 above" },
    { "limits", "recipients", CONFIG_COUNT, false, "100", "recipients of a message: 452 above" },
    { "limits", "sessions", CONFIG_COUNT, false, "10000", "open sessions in all: 421 above" },
    { "limits", "sessions_per_address", CONFIG_COUNT, false, "1000",
      "open sessions from one address (IPv6: its /64): 421 above; loopback is free" },
    { "limits", "auth_failures", CONFIG_COUNT, false, "3",
      "refused logins in a session, then 421" },
    { "limits", "errors", CONFIG_COUNT, false, "10", "errors in a session, then 421" },
    { "limits", "junk_commands", CONFIG_COUNT, false, "100",
      "NOOP, RSET, EHLO, HELP without a message between, then 421" },
    { "limits", "header_size", CONFIG_SIZE, false, "64K", "header block of a message" },
    { "limits", "command_line", CONFIG_SIZE, false, "2048", "octets of a command with its CRLF" },
    { "limits", "data_line", CONFIG_SIZE, false, "998", "octets of a line of a message" },
    { "limits", "data_rate", CONFIG_SIZE, false, "500", "octets a second at least in DATA" },
    { "limits", "data_grace", CONFIG_DURATION, false, "60s", "from when on that is asked" },
    { "limits", "login_time", CONFIG_DURATION, false, "60s", "from connecting to logging in" },
    { "limits", "idle_time", CONFIG_DURATION, false, "300s", "waiting for a command or for data" },
    { "limits", "handshake_time", CONFIG_DURATION, false, "10s", "a TLS handshake" },
    { "limits", "penalty_failures", CONFIG_COUNT, false, "10",
      "refused logins from one address (IPv6: its /64) within penalty_window; 0: none is counted, "
      "so there is no tarpit either" },
    { "limits", "penalty_window", CONFIG_DURATION, false, "10m", "see penalty_failures" },
    { "limits", "penalty_time", CONFIG_DURATION, false, "10m",
      "how long that address is then turned away" },
    { "limits", "tarpit", CONFIG_DURATION, false, "1s",
      "how long the answer to a refused login waits, 10s at most; each further one of that address "
      "twice as long, up to 8 times; 0: not at all" },

    { "retry", "schedule", CONFIG_DURATION, true, "1m, 5m, 15m, 30m, 1h, 2h, 4h",
      "pauses after the 1st, 2nd ... temporary failure (each +-20 %); the last one repeats" },
    { "retry", "max_age", CONFIG_DURATION, false, "4d", "then a recipient has failed for good" },
    { "retry", "delay_notice", CONFIG_DURATION, false, "4h",
      "age at which the next failure tells the sender that the message is late, once; 0: never" },
    { "retry", "uncertain", CONFIG_DOUBT, false, "retry",
      "what may have arrived (the answer to it was lost): retry, or hold it for the operator" },

    { "plan", "rate", CONFIG_RATE, false, "0",
      "messages of each key, such as 20/min; 0: no limit" },
    { "plan", "recipients_per_day", CONFIG_COUNT, false, "0",
      "recipients of each key in a UTC day; 0: no limit" },
    { "plan", "keys", CONFIG_COUNT, false, "100", "active keys of an account" },
};
const size_t config_setting_count = ARRAY_LEN(config_settings);

const struct config_section_kind config_sections[] = {
    { "", false, false },     { "tls", false, false },    { "listener", true, true },
    { "http", false, false }, { "dns", false, false },    { "upstream", true, true },
    { "route", false, true }, { "limits", false, false }, { "retry", false, false },
    { "plan", true, true },
};
const size_t config_section_count = ARRAY_LEN(config_sections);

const struct config_setting *config_setting_find(const char *section, const char *name)
{
    for (size_t i = 0; i < config_setting_count; i++)
        if (strcmp(config_settings[i].section, section) == 0 &&
            strcmp(config_settings[i].name, name) == 0)
            return &config_settings[i];
    return NULL;
}
