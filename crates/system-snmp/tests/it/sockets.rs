//! On real loopback sockets: threads, restarts, and the calls that wait.
