//! Connections from the network namespace of a pod. Most pods have no program that could open one, so this program enters
//! their namespace.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Read,
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};

use crate::{
    cluster::{output, until},
    node::Node,
};

/// Refused connections fail at once; a lost packet is repeated after a second.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Names of the targets that accept a connection from the network of `process`, or of the node.
pub fn open<'a>(
    node: &Node,
    process: Option<u32>,
    targets: &'a BTreeMap<String, String>,
) -> Result<BTreeSet<&'a str>> {
    let mut command = inside(node, process)?;
    let answer = output(command.arg("probe").args(targets.values()))?;
    let open: BTreeSet<&str> = answer.lines().collect();
    let is_open =
        |(name, address): (&'a String, &String)| open.contains(address.as_str()).then_some(name.as_str());
    Ok(targets.iter().filter_map(is_open).collect())
}

/// This program in the network of a process of the node.
fn inside(node: &Node, process: Option<u32>) -> Result<Command> {
    let this = std::env::current_exe()?;
    let Some(process) = process else { return Ok(node.inside(this)) };
    let mut command = node.inside("nsenter");
    command.args(["--target", &process.to_string(), "--net"]).arg(this);
    Ok(command)
}

/// Listeners in a pod's network, until the value is dropped.
#[derive(Debug)]
pub struct Listening(Child);

impl Listening {
    pub fn start(node: &Node, process: u32, ports: &[u16]) -> Result<Self> {
        let mut command = inside(node, Some(process))?;
        command
            .arg("listen")
            .args(ports.iter().map(u16::to_string))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = command.spawn().context("cannot listen in a pod")?;
        let mut line = [0; 1];
        let output = child.stdout.as_mut().context("the listener has no output")?;
        ensure!(output.read(&mut line)? == 1, "the listener ended");
        Ok(Self(child))
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        // It ends with its input.
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// Prints the addresses that accept a connection; with a name, the address that the DNS server `addresses[0]` has for it.
pub fn probe(addresses: &[SocketAddr], name: Option<&str>) -> Result<()> {
    if let Some(name) = name {
        let server = addresses.first().context("no DNS server")?;
        let mut found = String::new();
        until(TIMEOUT, || {
            found = resolve(*server, name)?;
            Ok(())
        })?;
        println!("{found}");
        return Ok(());
    }
    thread::scope(|scope| {
        for address in addresses {
            scope.spawn(move || {
                if TcpStream::connect_timeout(address, TIMEOUT).is_ok() {
                    println!("{address}");
                }
            });
        }
    });
    Ok(())
}

/// Listens until standard input ends.
pub fn listen(ports: &[u16]) -> Result<()> {
    let listeners =
        ports.iter().map(|port| TcpListener::bind(("0.0.0.0", *port))).collect::<Result<Vec<_>, _>>()?;
    println!("listening");
    // The kernel completes connections; none is served.
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
    drop(listeners);
    Ok(())
}

/// The first IPv4 address of a name, by UDP.
fn resolve(server: SocketAddr, name: &str) -> Result<String> {
    let mut question = vec![0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        question.push(u8::try_from(label.len()).context("a long label")?);
        question.extend(label.as_bytes());
    }
    question.extend([0, 0, 1, 0, 1]);
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.set_read_timeout(Some(Duration::from_secs(1)))?;
    socket.send_to(&question, server)?;
    let mut answer = [0; 512];
    let length = socket.recv(&mut answer).context("the DNS server does not answer")?;
    ensure!(length > question.len() && answer[7] > 0, "the DNS server does not know {name}");
    // The record has one address, and it is the last part.
    let address = &answer[length - 4..length];
    Ok(address.iter().map(u8::to_string).collect::<Vec<_>>().join("."))
}
