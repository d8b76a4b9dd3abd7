//! A gRPC call frame by frame, for tests of what a well-behaved client would not send.

use h2::client;
use http::Request;
use tokio::net::TcpStream;
use tonic::Status;
use tonic::metadata::MetadataMap;

/// Calls a unary method with a deadline that the client itself does not enforce; returns the status.
///
/// # Panics
/// If HTTP/2 itself fails.
pub async fn call(address: &str, path: &str, token: &str, timeout: &str, message: &[u8]) -> Status {
    let socket = TcpStream::connect(address).await.expect("the server listens");
    let (sender, connection) = client::handshake(socket).await.expect("HTTP/2");
    // The connection ends with the last handle.
    tokio::spawn(connection);
    let request = Request::post(format!("http://{address}{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("authorization", format!("Bearer {token}"))
        .header("grpc-timeout", timeout)
        .body(())
        .expect("a request");
    let mut sender = sender.ready().await.expect("a stream");
    let (response, mut body) = sender.send_request(request, false).expect("sent");
    let length = u32::try_from(message.len()).expect("short").to_be_bytes();
    let frame = [&[0], length.as_slice(), message].concat();
    body.send_data(frame.into(), true).expect("sent");
    let response = response.await.expect("a response");
    // A status without a body is in the headers, any other in the trailers.
    if let Some(status) = Status::from_header_map(response.headers()) {
        return status;
    }
    let mut body = response.into_body();
    while let Some(data) = body.data().await {
        data.expect("a body");
    }
    let trailers = body.trailers().await.expect("trailers").expect("trailers");
    Status::from_header_map(MetadataMap::from_headers(trailers).as_ref()).expect("a status")
}
