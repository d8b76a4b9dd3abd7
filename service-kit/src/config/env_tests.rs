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
