//! What a connection makes of what comes unasked.

use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener, TcpStream};

use mio::{Events, Poll};

use super::*;

/// Both ends of a connection of HTTP/1.1, and what watches it.
fn ends() -> (Connection, TcpStream, Poll) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let url = format!("http://{}/v1/completions", listener.local_addr().unwrap());
    let backend =
        crate::protocol::backend::ALL.iter().find(|backend| backend.name == "vllm").unwrap();
    let endpoint = Endpoint::bare(&url, backend.protocol).unwrap();
    let address = &endpoint.addresses.as_ref().unwrap()[0];
    let mut poll = Poll::new().unwrap();
    let mut client =
        Connection::open(address, &endpoint, false, poll.registry(), Token(0)).unwrap();
    let (server, _) = listener.accept().unwrap();
    while client.go_on().unwrap() != Opening::Open {
        poll.poll(&mut Events::with_capacity(4), None).unwrap();
    }
    (client, server, poll)
}

/// Waits until the client has something to read.
fn wait(client: &Connection, poll: &mut Poll) {
    while !client.socket.has_news() {
        poll.poll(&mut Events::with_capacity(4), Some(Duration::from_millis(10))).unwrap();
    }
}

#[test]
fn what_comes_before_a_request_is_no_answer_to_it() {
    let (mut buffer, mut control) = (vec![0; 1000], [0; CONTROL]);
    let (mut client, mut server, mut poll) = ends();
    assert!(!client.speaks_unasked(&mut buffer, &mut control));
    server.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap();
    wait(&client, &mut poll);
    assert!(client.speaks_unasked(&mut buffer, &mut control));

    // An end is no word, and is still there for who reads next.
    let (mut client, server, mut poll) = ends();
    drop(server);
    wait(&client, &mut poll);
    assert!(!client.speaks_unasked(&mut buffer, &mut control));
    let read = client.receive(&mut buffer, &mut control).unwrap();
    assert_eq!(read, Arrived::Close { whole: true });
}
