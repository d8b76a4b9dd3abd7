//! Tests of the page tokens: golden bytes, and rejection of all other tokens.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proptest::prelude::*;
use proto::{Epoch, Position, Revision, Token, UserId};
use ring::hmac;
use service_kit::Secret;
use uuid::Uuid;

use super::codec::{MAX_TEXT_BYTES, TAG_BYTES, VERSION};
use super::*;
use crate::postgres::EdgeTable;
use crate::queries::ListKind;

const USER: &str = "f47ac10b-58cc-4372-a567-0e02b2c3d479";

fn codec(keys: &[&str]) -> Codec {
    let keys: Vec<_> = keys.iter().map(|key| Secret::from(*key)).collect();
    Codec::new(&keys).expect("a key")
}

fn user(text: &str) -> UserId {
    UserId::parse(text).expect("an id")
}

fn page() -> PageToken {
    PageToken {
        kind: ListKind::Followers,
        user: user(USER),
        viewer: None,
        before: Position::new(Revision(901), 7),
        as_of: Token::new(Epoch(1), Revision(905)),
    }
}

fn export() -> ExportToken {
    ExportToken {
        table: EdgeTable::Blocks,
        after: (Uuid::from_u128(1), Uuid::from_u128(2)),
        from: Token::new(Epoch(3), Revision(70)),
    }
}

/// Computed by another program: `01 | 00 variant | 00 kind | id | fc 4 bytes position | 01 epoch | fb 2 bytes revision`
/// and its HMAC; likewise the export's.
#[test]
fn golden_bytes() {
    let codec = codec(&["0123456789abcdef"]);
    assert_eq!(
        codec.page(&page()),
        "AQAA9HrBC1jMQ3KlZw4CssPUefwHFA4AAfuJA3k1iW492Oi-hyn6sDY8kWFZ11Ot13kBKxBi9ToNND7e"
    );
    assert_eq!(
        codec.export(&export()),
        "AQECAAAAAAAAAAAAAAAAAAAAAQAAAAAAAAAAAAAAAAAAAAIDRjvOeq-aXlSkCr8-49UMDYDlPGXu-Ee3-ILKxhy5e7FM"
    );
}

#[test]
fn a_token_opens_its_own_list_only() {
    let codec = codec(&["0123456789abcdef"]);
    let text = codec.page(&page());
    let other = user("f47ac10b-58cc-4372-a567-0e02b2c3d47a");
    assert_eq!(codec.read_page(&text, ListKind::Followers, user(USER), None), Ok(page()));
    assert_eq!(codec.read_page(&text, ListKind::Following, user(USER), None), Err(Invalid));
    assert_eq!(codec.read_page(&text, ListKind::Followers, other, None), Err(Invalid));
    assert_eq!(codec.read_export(&text, EdgeTable::Follows), Err(Invalid));
}

#[test]
fn a_token_opens_the_list_of_its_own_viewer_only() {
    let codec = codec(&["0123456789abcdef"]);
    let viewer = Some(user("f47ac10b-58cc-4372-a567-0e02b2c3d47a"));
    let other = Some(user("f47ac10b-58cc-4372-a567-0e02b2c3d47b"));
    let seen = PageToken { viewer, ..page() };
    let read = |token, viewer| codec.read_page(&codec.page(&token), ListKind::Followers, user(USER), viewer);
    assert_eq!(read(seen, viewer), Ok(seen));
    assert_eq!(read(seen, other), Err(Invalid));
    assert_eq!(read(seen, None), Err(Invalid));
    assert_eq!(read(page(), viewer), Err(Invalid));
}

#[test]
fn an_export_token_opens_its_own_table_only() {
    let codec = codec(&["0123456789abcdef"]);
    let text = codec.export(&export());
    assert_eq!(codec.read_export(&text, EdgeTable::Blocks), Ok(export()));
    assert_eq!(codec.read_export(&text, EdgeTable::Mutes), Err(Invalid));
    assert_eq!(codec.read_page(&text, ListKind::Followers, user(USER), None), Err(Invalid));
}

#[test]
fn keys_rotate_with_overlap() {
    let (old, new) = ("0123456789abcdef", "fedcba9876543210");
    let text = codec(&[old]).page(&page());
    let read = |keys: &[&str]| codec(keys).read_page(&text, ListKind::Followers, user(USER), None);
    assert_eq!(read(&[new, old]), Ok(page()));
    assert_eq!(read(&[new]), Err(Invalid));
    // The first key signs.
    assert_eq!(codec(&[new, old]).page(&page()), codec(&[new]).page(&page()));
}

#[test]
fn random_keys_differ() {
    let text = Codec::random().expect("random bytes").page(&page());
    let other = Codec::random().expect("random bytes");
    assert_eq!(other.read_page(&text, ListKind::Followers, user(USER), None), Err(Invalid));
}

#[test]
fn a_signed_body_with_more_or_less_bytes_is_refused() {
    // Even the holder of the key cannot encode one token in two ways, or with another version.
    let codec = codec(&["0123456789abcdef"]);
    let text = codec.page(&page());
    let bytes = URL_SAFE_NO_PAD.decode(&text).expect("base64");
    let signed = &bytes[..bytes.len() - TAG_BYTES];
    let resign = |signed: &[u8]| {
        let mut bytes = signed.to_vec();
        bytes.extend_from_slice(hmac::sign(&codec.keys[0].secret, signed).as_ref());
        URL_SAFE_NO_PAD.encode(bytes)
    };
    let read = |text: &str| codec.read_page(text, ListKind::Followers, user(USER), None);
    assert_eq!(read(&resign(signed)), Ok(page()));
    assert_eq!(read(&resign(&[signed, &[0]].concat())), Err(Invalid));
    assert_eq!(read(&resign(&signed[..signed.len() - 1])), Err(Invalid));
    assert_eq!(read(&resign(&[])), Err(Invalid));
    let mut other_version = signed.to_vec();
    other_version[0] = VERSION + 1;
    assert_eq!(read(&resign(&other_version)), Err(Invalid));
}

proptest! {
    #[test]
    fn round_trips(
        kind in prop::sample::select(ListKind::ALL.to_vec()),
        id in 1u128..,
        viewer in prop::option::of(1u128..),
        before: u64,
        epoch: u64,
        revision: u64,
    ) {
        let codec = codec(&["0123456789abcdef"]);
        let user = |id| UserId::new(Uuid::from_u128(id)).expect("not nil");
        let token = PageToken {
            kind,
            user: user(id),
            viewer: viewer.map(user),
            before: Position(before),
            as_of: Token::new(Epoch(epoch), Revision(revision)),
        };
        let text = codec.page(&token);
        prop_assert!(text.len() <= MAX_TEXT_BYTES);
        prop_assert_eq!(codec.read_page(&text, token.kind, token.user, token.viewer), Ok(token));
    }

    #[test]
    fn any_text_is_refused(text in ".{0,300}") {
        let codec = codec(&["0123456789abcdef"]);
        prop_assert_eq!(codec.read_page(&text, ListKind::Followers, user(USER), None), Err(Invalid));
        prop_assert_eq!(codec.read_export(&text, EdgeTable::Follows), Err(Invalid));
    }

    #[test]
    fn any_bytes_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let codec = codec(&["0123456789abcdef"]);
        let text = URL_SAFE_NO_PAD.encode(bytes);
        prop_assert_eq!(codec.read_page(&text, ListKind::Followers, user(USER), None), Err(Invalid));
    }

    #[test]
    fn any_damage_is_refused(place: prop::sample::Index, flip in 1u8..) {
        let codec = codec(&["0123456789abcdef"]);
        let mut bytes = URL_SAFE_NO_PAD.decode(codec.page(&page())).expect("base64");
        let place = place.index(bytes.len());
        bytes[place] ^= flip;
        let text = URL_SAFE_NO_PAD.encode(bytes);
        prop_assert_eq!(codec.read_page(&text, ListKind::Followers, user(USER), None), Err(Invalid));
    }

    #[test]
    fn any_truncation_is_refused(length: prop::sample::Index) {
        let codec = codec(&["0123456789abcdef"]);
        let text = codec.page(&page());
        let cut = &text[..length.index(text.len())];
        prop_assert_eq!(codec.read_page(cut, ListKind::Followers, user(USER), None), Err(Invalid));
    }
}
