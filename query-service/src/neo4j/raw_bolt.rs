//! A minimal Bolt 4.4 client that explains statements, for tests only: the driver does not return the plan.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Returns the plan of a statement from the test's server: the names of its operators.
///
/// # Panics
/// If there is no server, or it refuses.
pub async fn operators_of(statement: &str) -> Vec<String> {
    let address = setting("NEO4J_URI");
    let address = address.strip_prefix("bolt://").expect("a bolt:// address");
    let mut server = Server(TcpStream::connect(address).await.expect("Neo4j answers"));
    server.greet().await;
    let hello = [
        ("user_agent", text("plan-test/1")),
        ("scheme", text("basic")),
        ("principal", text(&setting("NEO4J_USER"))),
        ("credentials", text(&setting("NEO4J_PASSWORD"))),
    ];
    server.ask(0x01, &[map(&hello)]).await;
    let id = "00000000-0000-0000-0000-000000000001";
    let params = [
        ("user", text(id)),
        ("viewer", text(id)),
        ("target", text(id)),
        ("users", list(&[text(id), text(id)])),
        ("targets", list(&[text(id), text(id)])),
        ("before", number(i64::MAX)),
        ("limit", number(100)),
        // Parameters of multi-hop questions.
        ("second", text(id)),
        ("newest", number(i64::MAX)),
        ("since", number(i64::MAX)),
        ("look", number(1_000)),
        ("skip", number(0)),
        ("members", vec![0xc3]),
        ("follows", number(1_000)),
        ("each", number(100)),
        ("named", number(3)),
    ];
    server.ask(0x10, &[text(&format!("EXPLAIN {statement}")), map(&params), map(&[])]).await;
    let summary = server.ask(0x3f, &[map(&[("n", number(-1))])]).await;
    operators_in(&summary)
}

fn setting(name: &str) -> String {
    let name = format!("FOLLOWGRAPH_TEST_{name}");
    std::env::var(&name).unwrap_or_else(|_| {
        panic!("this test needs a running Neo4j ({name} is not set): run it with `cargo xtask test`")
    })
}

struct Server(TcpStream);

impl Server {
    async fn greet(&mut self) {
        let version_4_4 = [0, 0, 4, 4];
        let mut greeting = vec![0x60, 0x60, 0xb0, 0x17];
        greeting.extend(version_4_4);
        greeting.extend([0; 12]);
        self.0.write_all(&greeting).await.expect("sent");
        let mut agreed = [0; 4];
        self.0.read_exact(&mut agreed).await.expect("an answer");
        assert_eq!(agreed, version_4_4, "the server speaks another Bolt");
    }

    /// Sends one message and reads one answer, which must be a success.
    async fn ask(&mut self, tag: u8, fields: &[Vec<u8>]) -> Vec<u8> {
        let mut message = vec![0xb0 | u8::try_from(fields.len()).expect("few fields"), tag];
        message.extend(fields.concat());
        let mut framed = Vec::new();
        for chunk in message.chunks(0xffff) {
            framed.extend(u16::try_from(chunk.len()).expect("a chunk").to_be_bytes());
            framed.extend(chunk);
        }
        framed.extend([0, 0]);
        self.0.write_all(&framed).await.expect("sent");
        let answer = self.answer().await;
        assert_eq!(answer.get(..2), Some(&[0xb1, 0x70][..]), "{}", String::from_utf8_lossy(&answer));
        answer
    }

    async fn answer(&mut self) -> Vec<u8> {
        let mut answer = Vec::new();
        loop {
            let length = self.0.read_u16().await.expect("a chunk");
            if length == 0 && !answer.is_empty() {
                return answer;
            }
            let begin = answer.len();
            answer.resize(begin + usize::from(length), 0);
            self.0.read_exact(&mut answer[begin..]).await.expect("a whole chunk");
        }
    }
}

fn text(text: &str) -> Vec<u8> {
    let length = text.len();
    let mut bytes = match u8::try_from(length) {
        Ok(short @ ..16) => vec![0x80 | short],
        Ok(short) => vec![0xd0, short],
        Err(_) => {
            let [high, low] = u16::try_from(length).expect("a short text").to_be_bytes();
            vec![0xd1, high, low]
        }
    };
    bytes.extend(text.as_bytes());
    bytes
}

fn number(number: i64) -> Vec<u8> {
    let mut bytes = vec![0xcb];
    bytes.extend(number.to_be_bytes());
    bytes
}

fn list(items: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = vec![0x90 | u8::try_from(items.len()).expect("few items")];
    bytes.extend(items.concat());
    bytes
}

fn map(entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = match u8::try_from(entries.len()).expect("few entries") {
        few @ ..16 => vec![0xa0 | few],
        more => vec![0xd8, more],
    };
    for (key, value) in entries {
        bytes.extend(text(key));
        bytes.extend(value);
    }
    bytes
}

/// The texts after each `operatorType`, without the name of the database.
fn operators_in(summary: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"operatorType";
    let ends = (KEY.len()..=summary.len()).filter(|end| &summary[end - KEY.len()..*end] == KEY);
    ends.map(|end| {
        let (length, begin) = match summary[end] {
            tiny @ 0x80..=0x8f => (usize::from(tiny & 0x0f), end + 1),
            0xd0 => (usize::from(summary[end + 1]), end + 2),
            other => panic!("not a text: {other:#x}"),
        };
        let name = String::from_utf8_lossy(&summary[begin..begin + length]);
        name.split('@').next().unwrap_or_default().to_owned()
    })
    .collect()
}
