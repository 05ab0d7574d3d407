//! How SNMP v1 and v2c bytes are laid out: a checked view and an encoder, no I/O.
