//! One page of a router's admin interface, also from within a network namespace.

use std::io::{Read, Write};
use std::net::TcpStream;

use anyhow::{Context, Result};
use clap::Args;
use serde_json::Value;

/// What to read.
#[derive(Debug, Args)]
pub struct Options {
    /// Address and port.
    #[arg(long)]
    host: String,
    /// The page.
    #[arg(long)]
    page: String,
}

/// The page as a JSON string.
pub fn run(options: &Options) -> Result<Value> {
    page(&options.host, &options.page).map(Value::String)
}

/// The page.
pub fn page(host: &str, page: &str) -> Result<String> {
    let mut stream = TcpStream::connect(host).with_context(|| format!("admin interface at {host}"))?;
    write!(stream, "GET {page} HTTP/1.0\r\nHost: {host}\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or(text))
}

/// The sum of a metric's samples on a `/metrics` page.
pub fn metric(page: &str, name: &str) -> f64 {
    let samples = page.lines().filter(|line| line.starts_with(name));
    samples.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}
