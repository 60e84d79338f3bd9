//! Requests as a scripted server reads them from its end of a connection.

use tokio::io::AsyncReadExt;

use super::server::Request;
use super::stream::Stream;

/// The next request; `None` if the client has no more.
pub(super) async fn read(
    stream: &mut Stream,
    unread: &mut Vec<u8>,
    whole: &impl Fn(&str) -> bool,
) -> std::io::Result<Option<Request>> {
    let end = loop {
        if let Some(at) = unread.windows(4).position(|window| window == b"\r\n\r\n") {
            break at;
        }
        if stream.read_buf(unread).await? == 0 {
            return Ok(None);
        }
    };
    let head = String::from_utf8(unread.drain(..end + 4).collect()).expect("a head in ASCII");
    let mut lines = head.trim_end().split("\r\n");
    let mut words = lines.next().unwrap_or_default().split(' ');
    let mut word = || words.next().unwrap_or_default().to_owned();
    let (method, path) = (word(), word());
    let headers: Vec<(String, String)> = lines
        .map(|line| {
            let (name, value) = line.split_once(':').expect("a header line");
            (name.to_ascii_lowercase(), value.trim().to_owned())
        })
        .collect();
    let mut request = Request { method, path, headers, body: String::new(), nth: 0 };
    if !whole(&request.path) {
        return Ok(Some(request));
    }
    let length: usize = request.header("content-length").map_or(0, |n| n.parse().unwrap());
    while unread.len() < length {
        if stream.read_buf(unread).await? == 0 {
            return Ok(None);
        }
    }
    request.body = String::from_utf8(unread.drain(..length).collect()).expect("a body in UTF-8");
    Ok(Some(request))
}
