use super::*;

#[test]
fn all_mistakes_are_reported_together_with_an_example() {
    let mut env = Env::from_pairs([
        ("LISTEN", "nowhere"),
        ("AGE_SECONDS", "soon"),
        ("ZERO_SECONDS", "0"),
        ("SIZE", "9"),
    ]);
    let url = env.example("postgres://db/main").required_secret("DATABASE_URL");
    let listen: SocketAddr = env.parse_or("LISTEN", "0.0.0.0:9080");
    let age = env.seconds_or("AGE_SECONDS", 20);
    let _zero = env.seconds_or("ZERO_SECONDS", 20);
    let _size = env.number_or("SIZE", 4_usize, 1..=8);
    assert_eq!(listen.port(), 9080);
    assert_eq!(age, Duration::from_secs(20));

    let error = env.finish(url).expect_err("five mistakes");
    let names: Vec<_> = error.mistakes.iter().map(|m| m.variable.as_str()).collect();
    assert_eq!(names, ["DATABASE_URL", "LISTEN", "AGE_SECONDS", "ZERO_SECONDS", "SIZE"]);
    let text = error.to_string();
    assert!(
        text.contains("DATABASE_URL: is required and not set (example: DATABASE_URL=postgres://db/main)"),
        "{text}"
    );
    assert!(text.contains("LISTEN: invalid socket address syntax"), "{text}");
    assert!(text.contains("ZERO_SECONDS: must be from 1 to 3153600000"), "{text}");
    assert!(text.contains("SIZE: must be from 1 to 8"), "{text}");
}

#[test]
fn a_mistake_never_repeats_the_value() {
    let mut env = Env::from_pairs([("PORT", "hunter2")]);
    let port: u16 = env.parse_or("PORT", "1");
    let text = env.finish(port).expect_err("not a number").to_string();
    assert!(!text.contains("hunter2"), "{text}");
}

#[test]
fn values_win_over_defaults_and_blank_counts_as_absent() {
    let mut env = Env::from_pairs([("A", "7"), ("B", "  "), ("C", " text ")]);
    assert_eq!(env.parse_or::<u32>("A", "1"), 7);
    assert_eq!(env.parse_or::<u32>("B", "1"), 1);
    assert_eq!(env.optional("C").as_deref(), Some("text"));
    assert_eq!(env.optional("D"), None);
    assert!(!env.flag_or("E", false));
    assert_eq!(env.number_or("A", 1_u32, 1..=7), 7);
    env.finish(()).expect("no mistake");
}

#[test]
fn every_getter_describes_its_variable_and_only_its_own() {
    let mut env = Env::from_pairs([("KEY", "read:hunter2,admin://looks/like"), ("URL", "nats://a:pw@h")]);
    env.about("Opens the door.").example("abc").optional_secret("KEY");
    let _ = env.required("URL");
    let _: u32 = env.parse_or("COUNT", "3");
    let _ = env.seconds_or("PAUSE_SECONDS", 5);
    let _ = env.number_or("SIZE_BYTES", 5_u32, 1..=9);
    let _ = env.file("CA_FILE");
    let _ = env.optional("NAME");
    let key = &env.variables()[0];
    assert_eq!((key.about.as_str(), key.example.as_str(), key.secret), ("Opens the door.", "abc", true));
    assert_eq!(env.variables()[1].about, "");
    assert_eq!(env.variables()[2].default.as_deref(), Some("3"));
    let accepts: Vec<_> = env.variables().iter().map(|variable| variable.accepts.as_str()).collect();
    let wanted = [
        "text",
        "text",
        "number",
        "seconds from 1 to 3153600000",
        "bytes from 1 to 9",
        "path of a file",
        "text",
    ];
    assert_eq!(accepts, wanted);
    assert!(env.redacted().starts_with("KEY=[redacted] URL=nats://a:[redacted]@h COUNT=3 "));
}

#[test]
fn durations_have_an_upper_limit() {
    let reads = |seconds: &str, millis: &str| {
        let mut env = Env::from_pairs([("AGE_SECONDS", seconds), ("WAIT_MILLIS", millis)]);
        let read = (env.seconds_or("AGE_SECONDS", 20), env.millis_or("WAIT_MILLIS", 20));
        env.finish(read).map_err(|error| error.mistakes.len())
    };
    let longest = (Duration::from_secs(3_153_600_000), Duration::from_secs(86_400));
    assert_eq!(reads("3153600000", "86400000"), Ok(longest));
    // The first overflowed when it was added to a time, PostgreSQL refused the second.
    assert_eq!(reads("18446744073709551615", "3000000000"), Err(2));
    assert_eq!(reads("3153600001", "86400001"), Err(2));
}

#[test]
fn two_ports_at_one_address_are_a_mistake() {
    let fits = |one: &str, other: &str| {
        let mut env = Env::from_pairs([("ADMIN_LISTEN", one), ("GRPC_LISTEN", other)]);
        let _ = (env.port_or("ADMIN_LISTEN", "[::]:1"), env.port_or("GRPC_LISTEN", "[::]:2"));
        env.finish(()).map_err(|error| error.to_string())
    };
    for (one, other) in [
        ("[::]:9180", "[::]:9080"),
        ("127.0.0.1:0", "127.0.0.1:0"),
        ("127.0.0.1:9080", "127.0.0.2:9080"),
        ("0.0.0.0:9080", "[::1]:9080"),
    ] {
        assert_eq!(fits(one, other), Ok(()), "{one} {other}");
    }
    for (one, other) in [
        ("[::]:9080", "[::]:9080"),
        ("[::]:9080", "127.0.0.1:9080"),
        ("0.0.0.0:9080", "[::]:9080"),
        ("10.0.0.1:9080", "0.0.0.0:9080"),
        ("127.0.0.1:9080", "[::ffff:127.0.0.1]:9080"),
    ] {
        let problem = fits(one, other).expect_err(one);
        assert!(problem.contains("GRPC_LISTEN: is the same port as ADMIN_LISTEN"), "{problem}");
    }
}

/// Reads `TIMEOUT_MILLIS`, which was called `PATIENCE_MILLIS` and, before that, `WAIT_MILLIS`.
fn renamed(pairs: &[(&str, &str)]) -> (Result<u128, String>, Vec<String>) {
    let mut env = Env::from_pairs(pairs.iter().copied());
    let read = env
        .about("Waits.")
        .formerly("PATIENCE_MILLIS", "0.2.0")
        .formerly("WAIT_MILLIS", "0.1.0")
        .millis_or("TIMEOUT_MILLIS", 7);
    // The names are those of one variable only.
    assert_eq!(env.optional("OTHER"), None);
    assert_eq!(env.variables()[0].formerly.len(), 2);
    assert!(env.variables()[1].formerly.is_empty());
    assert_eq!(env.is_set("TIMEOUT_MILLIS"), !pairs.is_empty());
    let remarks = env.remarks().iter().map(|remark| format!("{} {}", remark.variable, remark.text)).collect();
    (env.finish(read.as_millis()).map_err(|error| error.to_string()), remarks)
}

#[test]
fn an_older_name_is_read_with_a_warning() {
    assert_eq!(renamed(&[]), (Ok(7), vec![]));
    assert_eq!(renamed(&[("TIMEOUT_MILLIS", "9"), ("PATIENCE_MILLIS", "")]), (Ok(9), vec![]));
    let warning =
        "PATIENCE_MILLIS is called TIMEOUT_MILLIS now: rename it, 0.3.0 ignores the older name".to_owned();
    assert_eq!(renamed(&[("PATIENCE_MILLIS", "8")]), (Ok(8), vec![warning.clone()]));
    assert_eq!(renamed(&[("PATIENCE_MILLIS", "8"), ("TIMEOUT_MILLIS", "8")]), (Ok(8), vec![warning]));
    let (read, warnings) = renamed(&[("WAIT_MILLIS", "6")]);
    assert_eq!((read, warnings.len()), (Ok(6), 1));
    assert!(warnings[0].contains("0.2.0 ignores"), "{warnings:?}");
}

#[test]
fn an_older_name_must_not_contradict_and_is_named_in_mistakes() {
    let (read, _) = renamed(&[("PATIENCE_MILLIS", "8"), ("TIMEOUT_MILLIS", "9")]);
    let problem = read.expect_err("two values");
    assert!(
        problem.contains("TIMEOUT_MILLIS: contradicts its older name PATIENCE_MILLIS: unset that"),
        "{problem}"
    );
    let (read, _) = renamed(&[("PATIENCE_MILLIS", "8"), ("WAIT_MILLIS", "9")]);
    assert!(read.expect_err("two values").contains("TIMEOUT_MILLIS: contradicts its older name WAIT_MILLIS"));
    let (read, _) = renamed(&[("PATIENCE_MILLIS", "soon")]);
    let problem = read.expect_err("no number");
    assert!(
        problem.contains("(set by its older name PATIENCE_MILLIS)") && !problem.contains("soon"),
        "{problem}"
    );
}
