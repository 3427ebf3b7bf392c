//! A gateway on a free port, and clients that speak bytes to it.

mod call;
mod client;
mod gateway;
mod http;
mod stream;

pub(crate) use call::Call;
pub(crate) use client::{Client, frame};
pub(crate) use gateway::{Process, TestGateway};
pub(crate) use http::{Response, metric, read_response, request};
pub(crate) use stream::EventStream;
