//! The SNMP manager: shards, walks, engines, the poller and its operations.
