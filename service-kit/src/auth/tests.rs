use super::*;

fn tokens(text: &str) -> Tokens {
    text.parse().expect("a valid list")
}

fn header(value: &'static str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("authorization", value.parse().expect("ASCII"));
    headers
}

#[test]
fn a_token_opens_its_scopes_and_no_others() {
    let tokens = tokens("read+write:old, read:new, admin:root");
    let caller = tokens.authorize(&header("Bearer old"), Scope::Write).expect("in scope");
    assert_eq!(caller.name(), "token-0");
    assert_eq!(tokens.authorize(&header("bearer new"), Scope::Read).expect("in scope").name(), "token-1");
    assert_eq!(
        tokens.authorize(&header("Bearer new"), Scope::Write),
        Err(AuthError::ScopeMissing(Scope::Write))
    );
    assert_eq!(
        tokens.authorize(&header("Bearer root"), Scope::Read),
        Err(AuthError::ScopeMissing(Scope::Read))
    );
    assert!(tokens.grant(Scope::Admin));
}

#[test]
fn missing_and_unknown_tokens_are_refused() {
    let tokens = tokens("read:one");
    for metadata in [HeaderMap::new(), header("Basic one"), header("Bearer "), header("one")] {
        assert_eq!(tokens.authorize(&metadata, Scope::Read), Err(AuthError::Missing));
    }
    for token in ["Bearer on", "Bearer oneone", "Bearer ONE", "Bearer read:one"] {
        assert_eq!(tokens.authorize(&header(token), Scope::Read), Err(AuthError::Unknown));
    }
    assert_eq!(Tokens::default().authorize(&header("Bearer one"), Scope::Read), Err(AuthError::Unknown));
}

#[test]
fn malformed_lists_are_mistakes_and_never_shown() {
    for (text, error) in [
        ("hunter2", ParseError::Form),
        ("reed:hunter2", ParseError::Scope),
        ("read+:hunter2", ParseError::Scope),
        ("read:", ParseError::EmptySecret),
        ("read:hunter2,write:hunter2", ParseError::Duplicate),
        (" , ", ParseError::Empty),
        ("=read:hunter2", ParseError::Name),
        ("Feed=read:hunter2", ParseError::Name),
        ("none=read:hunter2", ParseError::Name),
        ("token-7=read:hunter2", ParseError::Name),
        ("internal=read:hunter2", ParseError::Name),
        ("feed=hunter2", ParseError::Form),
        ("feed=reed:hunter2", ParseError::Scope),
        ("read: ,write:hunter2", ParseError::EmptySecret),
        ("read:hunter2,write: hunter2", ParseError::Duplicate),
        ("read:hunter2\u{e9}", ParseError::Unsendable),
        ("read:hunter2\nhunter3", ParseError::Unsendable),
    ] {
        assert_eq!(text.parse::<Tokens>().map(|_| ()), Err(error));
        let mut env = Env::from_pairs([(VARIABLE, text)]);
        let tokens = Tokens::read(&mut env);
        assert!(!env.redacted().contains("hunter2"));
        let report = env.finish(tokens).expect_err("a mistake").to_string();
        assert!(!report.contains("hunter2"), "{report}");
    }
}

#[test]
fn bare_secrets_grant_one_scope_and_several_count_at_a_time() {
    let mut env = Env::from_pairs([("INTERNAL", "old:1, new, ")]);
    let tokens = Tokens::read_secrets(&mut env, "INTERNAL", Scope::Write);
    assert_eq!(tokens.authorize_token("old:1", Scope::Write), Ok(Caller::new(INTERNAL)));
    assert_eq!(tokens.authorize_token("new", Scope::Write), Ok(Caller::new(INTERNAL)));
    assert_eq!(tokens.authorize_token("", Scope::Write), Err(AuthError::Unknown));
    assert_eq!(tokens.authorize_token("old:1, new, ", Scope::Write), Err(AuthError::Unknown));
    assert_eq!(tokens.authorize_token("new", Scope::Read), Err(AuthError::ScopeMissing(Scope::Read)));
    assert_eq!(env.redacted(), "INTERNAL=[redacted]");
    assert!(Tokens::read_secrets(&mut Env::from_pairs([("", "")]), "INTERNAL", Scope::Write).is_empty());

    let mut env = Env::from_pairs([("INTERNAL", "hunter2,hunter2")]);
    let tokens = Tokens::read_secrets(&mut env, "INTERNAL", Scope::Write);
    let report = env.finish(tokens).expect_err("a mistake").to_string();
    assert!(report.contains("twice") && !report.contains("hunter2"), "{report}");

    let mut env = Env::from_pairs([("INTERNAL", "old,hunter2\u{e9}")]);
    let tokens = Tokens::read_secrets(&mut env, "INTERNAL", Scope::Write);
    let report = env.finish(tokens).expect_err("a mistake").to_string();
    assert!(report.contains("printable ASCII") && !report.contains("hunter2"), "{report}");
}

#[test]
fn a_token_that_need_not_be_there_is_recognized() {
    let tokens = tokens("feed=read:one,write:two");
    let name =
        |headers: &HeaderMap| tokens.recognize(headers, Scope::Read).map(|caller| caller.name().to_owned());
    assert_eq!(name(&header("Bearer one")).as_deref(), Some("feed"));
    for other in [HeaderMap::new(), header("Bearer two"), header("Bearer three"), header("Basic one")] {
        assert_eq!(name(&other), None, "{other:?}");
    }
}

#[test]
fn blanks_around_a_secret_do_not_count() {
    let tokens = tokens("backend=read: one ,write : two words");
    assert!(tokens.authorize(&header("Bearer one"), Scope::Read).is_ok());
    assert!(tokens.authorize(&header("Bearer  two words "), Scope::Write).is_ok());
}

#[test]
fn a_secret_may_hold_colons() {
    assert!(tokens("read:a:b").authorize(&header("Bearer a:b"), Scope::Read).is_ok());
}

#[test]
fn tokens_of_one_name_are_one_caller() {
    let tokens = tokens("feed=read:old, feed=read+write:new, read:a=b:c==, other=write:x");
    let name = |secret| tokens.authorize_token(secret, Scope::Read).map(|caller| caller.name().to_owned());
    assert_eq!(name("old"), Ok("feed".to_owned()));
    assert_eq!(name("new"), Ok("feed".to_owned()));
    // An equals sign behind the first colon is part of the secret.
    assert_eq!(name("a=b:c=="), Ok("token-2".to_owned()));
    assert_eq!(name("x"), Err(AuthError::ScopeMissing(Scope::Read)));
    assert_eq!(name("feed=read:old"), Err(AuthError::Unknown));
    assert!(tokens.authorize_token("new", Scope::Write).is_ok());
    assert!(tokens.authorize_token("old", Scope::Write).is_err(), "a name lends no scopes");
}
