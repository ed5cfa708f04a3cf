//! The sandbox on a port of its own, for stacks that `cargo dev` does not host: `switchyard-sandbox [--port 3003]`.

use std::error::Error;
use switchyard_sandbox::{Options, Sandbox};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let port: u16 = match &words[..] {
        [] => 3003,
        [option, port] if option == "--port" => port.parse()?,
        _ => return Err("usage: switchyard-sandbox [--port PORT]".into()),
    };
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    Ok(Sandbox::open(Options::default())?.serve(listener).await?)
}
