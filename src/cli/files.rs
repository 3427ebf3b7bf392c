//! Reading the operator's files, as the gateway does.

pub(super) use crate::server::read_file as read;
