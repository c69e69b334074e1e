//! The sans-IO session between one client and one server.
