//! The meaning of columns: by the names of a header, by numbers, or by position.
//!
//! The meaning is never guessed. An unknown name, or one that contradicts the kind of edges, ends the import before
//! anything is sent, because reversed edges look like correct ones.

use csv::ByteRecord;
use proto::graph::v1::EdgeKind;

use super::args::ColumnNumbers;
use crate::dates;
use crate::ids::Id;
use crate::text::trimmed;

/// Columns of a row, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Columns {
    pub source: usize,
    pub target: usize,
    /// Date.
    pub created_at: Option<usize>,
    /// Expiry time.
    pub expires_at: Option<usize>,
    /// Whether columns have their default positions, so that a refused row is shown unchanged.
    pub in_place: bool,
}

impl Columns {
    pub fn numbered(numbers: ColumnNumbers) -> Self {
        let (source, target, created_at, expires_at) = numbers.get();
        Self { source, target, created_at, expires_at, in_place: false }
    }

    pub fn in_place(kind: EdgeKind) -> Self {
        let expires_at = may_expire(kind).then_some(3);
        Self { source: 0, target: 1, created_at: Some(2), expires_at, in_place: true }
    }
}

/// Name of a kind of edges, as `--kind` takes it.
pub fn kind_name(kind: EdgeKind) -> &'static str {
    match kind {
        EdgeKind::Block => "block",
        EdgeKind::Mute => "mute",
        _ => "follow",
    }
}

/// Whether edges of this kind may expire.
pub fn may_expire(kind: EdgeKind) -> bool {
    kind != EdgeKind::Follow
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    pub columns: Columns,
    /// The columns in words, unless the header is that of an export.
    pub words: Option<String>,
}

/// Why a header is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mistake {
    /// An unknown name.
    #[error("the header names a column '{0}', which is not known")]
    Unknown(String),
    /// A required column is missing.
    #[error("the header names no column for {0}")]
    Missing(&'static str),
    /// Two columns have the same meaning.
    #[error("the header names two columns for {0}")]
    Twice(&'static str),
    /// A column of another kind of edges.
    #[error("the header has a column '{name}', which belongs to --kind {kind}")]
    OtherKind {
        /// Name of the column.
        name: String,
        /// Kind of edges with such a column.
        kind: &'static str,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Source,
    Target,
    CreatedAt,
    ExpiresAt,
}

impl Role {
    const ALL: [Self; 4] = [Self::Source, Self::Target, Self::CreatedAt, Self::ExpiresAt];

    /// Its name in an export.
    fn name(self) -> &'static str {
        match self {
            Self::Source => "source_id",
            Self::Target => "target_id",
            Self::CreatedAt => "created_at",
            Self::ExpiresAt => "expires_at",
        }
    }
}

/// Known names in the spelling of [`spelled`], and the only kind of edges that has them.
const NAMES: [(Role, Option<EdgeKind>, &[&str]); 10] = [
    (Role::Source, None, &["source", "src", "from", "actor"]),
    (Role::Source, Some(EdgeKind::Follow), &["follower"]),
    (Role::Source, Some(EdgeKind::Mute), &["muter"]),
    (Role::Source, Some(EdgeKind::Block), &["blocker"]),
    (Role::Target, None, &["target", "dst", "to"]),
    (Role::Target, Some(EdgeKind::Follow), &["following", "followee", "followed"]),
    (Role::Target, Some(EdgeKind::Mute), &["muted"]),
    (Role::Target, Some(EdgeKind::Block), &["blocked"]),
    (
        Role::CreatedAt,
        None,
        &["created_at", "created", "since", "date", "timestamp", "followed_at", "muted_at", "blocked_at"],
    ),
    (Role::ExpiresAt, None, &["expires_at", "expires", "until", "muted_until", "blocked_until"]),
];

/// Names of the other columns of a file of refused rows.
const NOTES: [&str; 3] = ["line", "reason", "message"];

/// Advice after the error about a header.
pub const ADVICE: &str = "known names are source_id, target_id, created_at and expires_at, follower_id and \
    following_id (followee_id), muter_id and muted_id, blocker_id and blocked_id; --columns 1,2,3 names the columns \
    of source, target and date; then a header without a known name is a refused row";

/// Whether a first line is a header: it has words, and no cell of a row.
pub fn is_header(first: &ByteRecord) -> bool {
    let cells: Vec<_> = first.iter().map(cell).collect();
    let of_a_row =
        |text: &str| text.parse::<Id>().is_ok() || text.parse::<f64>().is_ok() || dates::parse(text).is_ok();
    cells.iter().any(|text| text.contains(char::is_alphabetic)) && !cells.iter().any(|text| of_a_row(text))
}

/// Whether a name is known, or only means an id or an account. With numbered columns, this distinguishes a header from a
/// row of invalid ids.
pub fn has_known_name(header: &ByteRecord) -> bool {
    header.iter().map(cell).filter(|name| name.contains(char::is_alphabetic)).any(|name| {
        let spelled = spelled(&name);
        spelled.is_empty() || NAMES.iter().any(|(_, _, names)| names.contains(&spelled.as_str()))
    })
}

/// Parses a header.
pub fn read(header: &ByteRecord, kind: EdgeKind) -> Result<Header, Mistake> {
    let names: Vec<_> = header.iter().map(cell).collect();
    let is_refused_file = NOTES.iter().all(|note| names.iter().any(|name| spelled(name) == *note));
    let mut places: [Option<usize>; 4] = [None; 4];
    for (index, name) in names.iter().enumerate().filter(|(_, name)| !name.is_empty()) {
        if is_refused_file && NOTES.contains(&spelled(name).as_str()) {
            continue;
        }
        let role = role(name, kind)?;
        if places[role as usize].replace(index).is_some() {
            return Err(Mistake::Twice(role.name()));
        }
    }
    let [source, target, created_at, mut expires_at] = places;
    if expires_at.is_some() && !may_expire(kind) {
        let name = expires_at.map(|index| names[index].clone()).unwrap_or_default();
        return Err(Mistake::OtherKind { name, kind: "mute or block" });
    }
    if is_refused_file && expires_at.is_none() && may_expire(kind) {
        // Version 0.1.0 wrote the column without a name.
        expires_at = created_at.map(|index| index + 1);
    }
    let columns = Columns {
        source: source.ok_or(Mistake::Missing("source_id"))?,
        target: target.ok_or(Mistake::Missing("target_id"))?,
        created_at,
        expires_at,
        in_place: false,
    };
    let as_exported = names.iter().zip(Role::ALL).all(|(name, role)| *name == role.name());
    Ok(Header { columns, words: (!as_exported && !is_refused_file).then(|| words(&places, &names)) })
}

fn role(name: &str, kind: EdgeKind) -> Result<Role, Mistake> {
    let spelled = spelled(name);
    let known = NAMES.iter().find(|(_, _, names)| names.contains(&spelled.as_str()));
    let Some((role, of, _)) = known else {
        return Err(Mistake::Unknown(name.chars().take(60).collect()));
    };
    match of {
        Some(of) if *of != kind => Err(Mistake::OtherKind { name: name.to_owned(), kind: kind_name(*of) }),
        _ => Ok(*role),
    }
}

/// A name in lower case with `_` between words, and without words that any id may have: `followerUserID` is `follower`.
fn spelled(name: &str) -> String {
    let mut text = String::new();
    let mut after_lower_case = false;
    for c in name.chars() {
        if !c.is_alphanumeric() || (after_lower_case && c.is_uppercase()) {
            text.push('_');
        }
        if c.is_alphanumeric() {
            text.extend(c.to_lowercase());
        }
        after_lower_case = c.is_lowercase();
    }
    let any_id = ["id", "uuid", "user", "account", "node"];
    let words: Vec<_> = text.split('_').filter(|word| !word.is_empty() && !any_id.contains(word)).collect();
    let joined = words.join("_");
    // `followerid` has no boundary between its words.
    match joined.strip_suffix("id") {
        Some(short) if NAMES.iter().any(|(_, _, names)| names.contains(&short)) => short.to_owned(),
        _ => joined,
    }
}

fn words(places: &[Option<usize>; 4], names: &[String]) -> String {
    let columns = Role::ALL.iter().zip(places).filter_map(|(role, place)| {
        let index = (*place)?;
        Some(format!("{} from column {} ({})", role.name(), index + 1, names[index]))
    });
    format!("reading {}", columns.collect::<Vec<_>>().join(", "))
}

/// A cell in one line, without blanks and quotes around it.
fn cell(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let lines: Vec<_> = trimmed(trimmed(&text).trim_matches(['"', '\''])).lines().collect();
    lines.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(cells: &[&str]) -> ByteRecord {
        ByteRecord::from(cells.to_vec())
    }

    fn follow(cells: &[&str]) -> Result<Header, Mistake> {
        assert!(is_header(&record(cells)), "{cells:?}");
        read(&record(cells), EdgeKind::Follow)
    }

    #[test]
    fn a_header_has_words_and_no_cells_of_a_row() {
        let header = |cells: &[&str]| is_header(&record(cells));
        assert!(header(&["follower_id", "following_id", "created_at"]));
        assert!(header(&["id", "who", "follows"]));
        assert!(header(&["follower_id"]));
        assert!(header(&["", "source", "target"]), "of a data frame with an index");
        assert!(!header(&["2", "following_id"]));
        assert!(!header(&["bob", "3"]));
        assert!(!header(&["bob", "carol", "2020-01-01"]));
        assert!(!header(&["-1", "-2"]));
        assert!(!header(&["", ""]));
        assert!(!header(&["f47ac10b-58cc-4372-a567-0e02b2c3d479", "a47ac10b-58cc-4372-a567-0e02b2c3d479"]));
    }

    #[test]
    fn one_known_name_makes_a_header() {
        let known = |cells: &[&str]| has_known_name(&record(cells));
        assert!(known(&["nr", "Follower ID"]) && known(&["", "followee"]) && known(&["user_id", "who"]));
        assert!(!known(&["alice", "bob"]) && !known(&["user_17", "-"]) && !known(&["who", "whom"]));
    }

    #[test]
    fn names_may_have_any_order_and_spelling() {
        let places = |cells: &[&str]| {
            let Columns { source, target, created_at, .. } = follow(cells).unwrap().columns;
            (source, target, created_at)
        };
        assert_eq!(places(&["source_id", "target_id", "created_at"]), (0, 1, Some(2)));
        assert_eq!(places(&["followee_id", "follower_id"]), (1, 0, None));
        assert_eq!(places(&["created_at", "following_id", "follower_id"]), (2, 1, Some(0)));
        assert_eq!(places(&["FOLLOWING_ID", "Follower ID", "Created At"]), (1, 0, Some(2)));
        assert_eq!(places(&["followerId", "followedUserId", "since"]), (0, 1, Some(2)));
        assert_eq!(places(&["\"followerid\"", "'followingid'"]), (0, 1, None));
        assert_eq!(places(&["\u{feff}\"to\"", "from"]), (1, 0, None));
        assert_eq!(places(&["", "source", "target"]), (1, 2, None));
    }

    #[test]
    fn unknown_and_missing_names_are_refused() {
        assert_eq!(follow(&["id", "follower_id", "following_id"]), Err(Mistake::Unknown("id".to_owned())));
        assert_eq!(follow(&["user_id", "follower_id"]), Err(Mistake::Unknown("user_id".to_owned())));
        assert_eq!(follow(&["follower_id"]), Err(Mistake::Missing("target_id")));
        assert_eq!(follow(&["following_id", "created_at"]), Err(Mistake::Missing("source_id")));
        assert_eq!(follow(&["from", "follower", "to"]), Err(Mistake::Twice("source_id")));
        assert_eq!(follow(&["line", "source_id", "target_id"]), Err(Mistake::Unknown("line".to_owned())));
        let other = |name: &str, kind| Err(Mistake::OtherKind { name: name.to_owned(), kind });
        assert_eq!(follow(&["muter_id", "muted_id"]), other("muter_id", "mute"));
        assert_eq!(follow(&["source_id", "target_id", "expires_at"]), other("expires_at", "mute or block"));
        let mute = read(&record(&["blocker_id", "blocked_id"]), EdgeKind::Mute);
        assert_eq!(mute, other("blocker_id", "block"));
    }

    #[test]
    fn a_file_of_refused_rows_has_a_known_header() {
        let columns = |kind, cells: &[&str]| read(&record(cells), kind).unwrap().columns;
        let names = ["line", "reason", "message", "source_id", "target_id", "created_at"];
        let wanted = Columns { source: 3, target: 4, created_at: Some(5), expires_at: None, in_place: false };
        assert_eq!(columns(EdgeKind::Follow, &names), wanted);
        assert_eq!(columns(EdgeKind::Mute, &names), Columns { expires_at: Some(6), ..wanted }, "of 0.1.0");
        let names = [&names[..], &["expires_at"]].concat();
        assert_eq!(columns(EdgeKind::Mute, &names), Columns { expires_at: Some(6), ..wanted });
    }

    #[test]
    fn an_unusual_order_is_described() {
        assert_eq!(follow(&["source_id", "target_id", "created_at"]).unwrap().words, None);
        assert_eq!(
            follow(&["followee_id", "follower_id"]).unwrap().words.as_deref(),
            Some("reading source_id from column 2 (follower_id), target_id from column 1 (followee_id)")
        );
    }
}
