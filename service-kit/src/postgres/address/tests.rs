use sqlx::postgres::PgSslMode;

use super::*;

#[test]
fn unknown_parameters_are_named_once_without_values() {
    let url = Secret::from(
        "postgres://app:pw@h/main?sslmode=prefer&sslpassword=hunter2&PASSWORD=hunter3&hunter4\
         &channel_binding=require&channel_binding=hunter5",
    );
    let remarks = check(&url).expect("a valid address");
    assert_eq!(
        remarks,
        [
            "the parameter sslpassword has no effect",
            "the parameter channel_binding has no effect",
            "2 parameters with names unknown here have no effect"
        ]
    );
}

#[test]
fn understood_parameters_reach_the_driver_unchanged() {
    let url = Secret::from(
        "postgresql://h/main?user=a%20b&password=p%26w&port=77&options=-c%20jit%3Doff&pgbouncer=true\
         &options[search_path]=x&application_name=n#frag",
    );
    let options = options(&url).expect("a valid address");
    assert_eq!((options.get_username(), options.get_port()), ("a b", 77));
    assert_eq!(options.get_application_name(), Some("n"));
    assert_eq!(options.get_options(), Some("-c jit=off -c search_path=x"));
    assert!(format!("{options:?}").contains("p&w"));
}

#[test]
fn forms_of_libpq_lead_to_the_same_place() {
    let place = |text: &str| {
        let options = options(&Secret::from(text)).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(check(&Secret::from(text)), Ok(vec![]), "{text}");
        let socket = options.get_socket().map(|path| path.to_string_lossy().into_owned());
        (socket.unwrap_or_else(|| options.get_host().to_owned()), options.get_port())
    };
    let tcp = |host: &str, port| (host.to_owned(), port);
    for (text, wanted) in [
        ("postgres://u:p@[::1]:5433/db", tcp("::1", 5433)),
        ("postgres://u:p@[2001:db8::7]:5433/db?sslmode=verify-full", tcp("2001:db8::7", 5433)),
        ("postgres://u:p@[fe80::1%25eth0]:5433/db", tcp("fe80::1%eth0", 5433)),
        ("postgres://u:p@h:5433/db?hostaddr=::1", tcp("::1", 5433)),
        ("postgres://u:p@h:5433/db?host=::1", tcp("::1", 5433)),
        ("postgres://u:p@h:5433/db?host=[::1]", tcp("::1", 5433)),
        ("postgres://u:p@/db?host=/cloudsql/a:b:c&port=5433", tcp("/cloudsql/a:b:c", 5433)),
        ("postgres://u:p@:5433/db?host=h", tcp("h", 5433)),
        ("postgres://u:p@ignored:5433/db?host=/run/postgresql", tcp("/run/postgresql", 5433)),
        ("postgres://u:p@%2Frun%2Fpostgresql:5433/db", tcp("/run/postgresql", 5433)),
        ("postgresql://h:5433?sslmode=&sslrootcert=", tcp("h", 5433)),
        (" postgres://u:p@ss@h:5433/db ", tcp("h", 5433)),
    ] {
        assert_eq!(place(text), wanted, "{text}");
    }
    let options = options(&Secret::from("postgres://a%40b:p%2Fw@/main?host=h")).expect("a valid address");
    assert_eq!((options.get_username(), options.get_database()), ("a@b", Some("main")));
}

#[test]
fn the_value_of_a_known_parameter_may_hold_an_at_sign() {
    let url = Secret::from("postgres://h/db?user=app@tenant&password=p@w&sslpassword=p@w");
    assert_eq!(check(&url), Ok(vec!["the parameter sslpassword has no effect".to_owned()]));
    assert_eq!(options(&url).expect("a valid address").get_username(), "app@tenant");
}

#[test]
fn an_address_without_a_host_leads_to_the_default_one() {
    for text in ["postgres:///main", "postgres://", "postgresql://app:pw@/main", "postgres://app@:77"] {
        check(&Secret::from(text)).unwrap_or_else(|faults| panic!("{text} {}", in_words(&faults)));
    }
}

#[test]
fn certificates_of_the_system_need_no_file() {
    let options = options(&Secret::from("postgres://h/main?sslrootcert=system")).expect("a valid address");
    assert!(matches!(options.get_ssl_mode(), PgSslMode::VerifyFull));
}

#[test]
fn ssl_is_true_or_false() {
    let mode = |query: &str| {
        let url = Secret::new(format!("postgres://h/db?{query}"));
        assert_eq!(check(&url), Ok(vec![]), "{query}");
        options(&url).expect("a valid address").get_ssl_mode()
    };
    for query in ["ssl=true", "ssl=true&sslmode=", "ssl=true&ssl-mode=require"] {
        assert!(matches!(mode(query), PgSslMode::Require), "{query}");
    }
    // It does not take verification back, wherever it is.
    for query in ["ssl=true&sslmode=verify-full", "sslmode=verify-full&ssl=true"] {
        assert!(matches!(mode(query), PgSslMode::VerifyFull), "{query}");
    }
    for query in ["ssl=false", "sslmode=disable&ssl=false"] {
        assert!(matches!(mode(query), PgSslMode::Disable), "{query}");
    }
}

#[test]
fn a_refused_form_is_named_with_one_that_works() {
    for (text, wanted) in [
        ("postgres://u:hunter2@h1:5432,h2:5432/db?target_session_attrs=read-write", "names several hosts"),
        ("postgres://u:hunter2@h/db?host=h1,h2", "names several hosts"),
        ("postgres://u:hunter2@[::1],[::2]/db", "names several hosts"),
        ("postgres://u:hunter2@::1:5432/db", "[ADDRESS]:PORT"),
        ("postgres://u:hunter2@[::1/db", "[ADDRESS]:PORT"),
        ("postgres://u:hunter2@[::1]5432/db", "[ADDRESS]:PORT"),
        ("postgres://u:hunter2@[hunter3:]/db", "neither a name nor an IP address"),
        ("postgres://u:hunter2@h/db?hostaddr=hunter3", "a hostaddr that is no IP address"),
        ("postgres://u:hunter2@h:0/db", "a port that is no number"),
        ("postgres://u:hunter#2@h/db", "%23"),
        ("postgres://u:hunter/2@h/db", "%2F"),
        ("postgres://u:1/hunter@h/db", "%2F"),
        ("postgres://u:1?hunter@h/db", "%3F"),
        ("postgres://u:1#hunter@h/db", "%23"),
        ("postgres://u:1?hunter=9@h/db", "%3F"),
        ("postgres://u:1?a=b&hunter=9@h/db", "%3F"),
        ("postgres://u:1@2?hunter=9@h/db", "%3F"),
        ("postgres://u:hunter2@h/db?sslmode=hunter3", "verify-full"),
        ("postgres://u:hunter2@h/db?sslmode=allow", "sslmode=disable for clear text"),
        ("postgres://u:hunter2@h/db?ssl-mode=ALLOW", "sslmode=disable for clear text"),
        ("postgres://u:hunter2@h/db?ssl=hunter3", "write sslmode=verify-full"),
        ("postgres://u:hunter2@h/db?ssl=true&ssl=false", "write sslmode=verify-full"),
        ("postgres://u:hunter2@h/db?ssl=true&ssl=", "write sslmode=verify-full"),
        ("postgres://u:hunter2@h/db?SSL=true", "write sslmode=verify-full"),
        ("postgres://u:hunter2@h/db?SSLMODE=verify-full", "write sslmode=verify-full"),
        ("postgres://u:hunter2@h/db?ssl_mode=require", "write sslmode=verify-full"),
        ("postgres://u:hunter2@h/db?tls=hunter3", "write sslmode=verify-full"),
        ("postgres://u:hunter2@h/db?ssl=true&sslmode=prefer", "leave out one of them"),
        ("postgres://u:hunter2@h/db?ssl-mode=disable&ssl=true", "leave out one of them"),
        ("postgres://u:hunter2@h/db?ssl=false&sslmode=require", "leave out one of them"),
        ("postgres://u:%ff@h/db", "not UTF-8"),
        ("host=h user=u password=hunter2", "keywords and values"),
        ("jdbc:postgresql://h/db?password=hunter2", "must begin with postgres://"),
        ("postgresql+asyncpg://u:hunter2@h/db", "must begin with postgres://"),
    ] {
        let problem = in_words(&check(&Secret::from(text)).expect_err(text));
        assert!(problem.contains(wanted) && !problem.contains("hunter"), "{text}: {problem}");
    }
}

#[test]
fn errors_do_not_quote_the_address() {
    for text in [
        "postgres://app:hunter#2@h/main",
        "postgres://h/main?sslmode=hunter2",
        "hunter2",
        "postgres://h:hunter2/x",
    ] {
        let error = options(&Secret::from(text)).expect_err(text);
        assert!(!format!("{error:?} {error}").contains("hunter"), "{error:?}");
    }
}

/// Reads an address with these variables alone.
fn with<'a>(variables: &'a [(&'a str, &'a str)]) -> impl Fn(&str) -> Option<String> + 'a {
    move |name| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
}

fn completed(url: &str, variables: &[(&str, &str)]) -> PgConnectOptions {
    let read = parse(url, &with(variables));
    read.unwrap_or_else(|faults| panic!("{url} {variables:?}: {}", in_words(&faults))).options
}

#[test]
fn variables_fill_in_what_the_address_leaves_open() {
    let all = [("PGHOST", "h1"), ("PGPORT", " 5433 "), ("PGSSLMODE", "verify-full")];
    let options = completed("postgres://u@/db", &all);
    assert_eq!((options.get_host(), options.get_port()), ("h1", 5433));
    assert!(matches!(options.get_ssl_mode(), PgSslMode::VerifyFull));
    let options = completed("postgres://u@h2:5434/db?sslmode=disable", &all);
    assert_eq!((options.get_host(), options.get_port()), ("h2", 5434));
    assert!(matches!(options.get_ssl_mode(), PgSslMode::Disable));
    let both = [("PGHOSTADDR", "::1"), ("PGHOST", "h1")];
    assert_eq!(completed("postgres:///db", &both).get_host(), "::1");
    let blank = [("PGHOSTADDR", ""), ("PGHOST", "/run/pg"), ("PGPORT", ""), ("PGSSLMODE", " ")];
    let options = completed("postgres://u@/db", &blank);
    assert_eq!(options.get_socket().and_then(|path| path.to_str()), Some("/run/pg"));
    assert!(matches!(options.get_ssl_mode(), PgSslMode::Prefer));
    let options = completed("postgres://u@:1/db", &[("PGHOST", "")]);
    assert!(options.get_host() == "localhost" || options.get_socket().is_some(), "{options:?}");
}

#[test]
fn a_wrong_variable_is_named() {
    let wrong = [
        ("PGSSLMODE", "verifyfull", "verify-full"),
        ("PGSSLMODE", "allow", "sslmode=disable for clear text"),
        ("PGPORT", "hunter2", "a port that is no number"),
        ("PGHOST", "hunter2,hunter3", "names several hosts"),
        ("PGHOSTADDR", "hunter2", "a hostaddr that is no IP address"),
        ("PGUSER", " ", "is blank"),
        ("PGSSLCERT", "", "is blank"),
        ("PGSSLKEY", "", "is blank"),
        ("PGSSLROOTCERT", "/not/there", "cannot be read"),
    ];
    for (variable, value, wanted) in wrong {
        let url = Secret::from("postgres:///db");
        // The default host may be a socket, for which certificates do not count.
        let variables = [(variable, value), ("PGSSLMODE", "verify-full"), ("PGHOST", "h")];
        let faults = check_with(&url, &with(&variables)).expect_err(variable);
        let [Fault { variable: at_fault, text }] = &faults[..] else { panic!("{faults:?}") };
        assert_eq!(*at_fault, Some(variable));
        assert!(text.contains(wanted) && !text.contains("hunter"), "{variable}: {text}");
    }
    // All at once, where one line is all that can be said.
    let variables = wrong.map(|(variable, value, _)| (variable, value));
    let said = in_words(&parse("postgres:///db", &with(&variables)).err().expect("faults"));
    for variable in ["PGSSLMODE", "PGPORT", "PGHOST", "PGHOSTADDR", "PGUSER", "PGSSLCERT", "PGSSLKEY"] {
        assert!(said.contains(&format!("is completed by {variable}, which ")), "{variable}: {said}");
    }
    // One that does not count is not looked at.
    completed(
        "postgres://u@h:1/db?sslmode=disable",
        &[("PGSSLMODE", "x"), ("PGHOST", "a,b"), ("PGPORT", "x")],
    );
}

#[test]
fn a_variable_for_the_authorities_counts_like_the_parameter() {
    for blank in ["", " "] {
        let variables = [("PGSSLROOTCERT", blank)];
        let url = Secret::from("postgres://h/db?sslmode=verify-full");
        assert_eq!(check_with(&url, &with(&variables)), Ok(vec![]));
        let options = completed(url.expose(), &variables);
        assert!(format!("{options:?}").contains("ssl_root_cert: Some(Inline([]))"), "{options:?}");
    }
    let system = [("PGSSLROOTCERT", "system")];
    assert_eq!(check_with(&Secret::from("postgres://h/db"), &with(&system)), Ok(vec![]));
    let options = completed("postgres://h/db", &system);
    assert!(matches!(options.get_ssl_mode(), PgSslMode::VerifyFull));
    assert!(format!("{options:?}").contains("ssl_root_cert: Some(Inline([]))"), "{options:?}");
}

#[test]
fn authorities_without_verification_are_refused() {
    let folder = crate::test_certificates::Folder::new();
    let ca = folder.file("ca.pem", &crate::test_certificates::Authority::new().pem());
    let fine = |query: &str, variables: &[(&str, &str)]| {
        let url = Secret::new(format!("postgres://h/db?{query}"));
        check_with(&url, &with(variables)).map_err(|faults| in_words(&faults))
    };
    for mode in ["verify-ca", "verify-full"] {
        assert_eq!(fine(&format!("sslmode={mode}&sslrootcert={ca}"), &[]), Ok(vec![]));
        assert_eq!(fine(&format!("sslrootcert={ca}"), &[("PGSSLMODE", mode)]), Ok(vec![]));
    }
    for query in [
        format!("sslmode=require&sslrootcert={ca}"),
        format!("sslmode=prefer&ssl-ca={ca}"),
        format!("sslmode=disable&sslrootcert={ca}"),
        format!("sslrootcert={ca}"),
        "sslmode=require&sslrootcert=system".to_owned(),
        "sslmode=verify-ca&sslrootcert=system".to_owned(),
    ] {
        let said = fine(&query, &[]).expect_err(&query);
        assert!(said.contains("write sslmode=verify-full"), "{query}: {said}");
    }
    let said = fine("sslmode=require", &[("PGSSLROOTCERT", &ca)]).expect_err("not verified");
    assert!(said.contains("PGSSLROOTCERT") && said.contains("write sslmode=verify-full"), "{said}");
    assert_eq!(fine("sslmode=require", &[]), Ok(vec![]));
}

#[test]
fn a_variable_for_the_authorities_does_not_count_without_tls() {
    for ca in ["/not/there", "system"] {
        let variables = [("PGSSLROOTCERT", ca)];
        for url in [
            "postgres://h/db?sslmode=disable",
            "postgres://h/db?ssl=false",
            "postgres://u@/db?host=/run/postgresql",
            "postgres://u@%2Frun%2Fpostgresql/db",
            "postgres://h/db?sslmode=require&sslrootcert=",
        ] {
            assert_eq!(check_with(&Secret::from(url), &with(&variables)), Ok(vec![]), "{url} {ca}");
            let options = completed(url, &variables);
            assert!(!matches!(options.get_ssl_mode(), PgSslMode::VerifyFull), "{url} {ca}");
            assert!(format!("{options:?}").contains("ssl_root_cert: Some(Inline([]))"), "{options:?}");
        }
        let socket = [variables[0], ("PGHOST", "/run/postgresql")];
        assert_eq!(check_with(&Secret::from("postgres:///db"), &with(&socket)), Ok(vec![]));
    }
    let named = Secret::from("postgres://h/db?sslmode=disable&sslrootcert=/not/there");
    assert!(check_with(&named, &with(&[])).is_err());
}
