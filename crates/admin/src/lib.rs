//! Both ends of the control protocol and the HTTP surface: transports operations, knows none.
