use super::*;

#[test]
fn pauses_grow_and_stay_short() {
    assert_eq!(pause(0), Duration::ZERO);
    assert!(pause(1) <= SHORTEST_PAUSE && pause(1) >= SHORTEST_PAUSE / 2);
    assert!(pause(usize::MAX) <= LONGEST_PAUSE && pause(usize::MAX) >= LONGEST_PAUSE / 2);
}

#[test]
fn the_state_follows_the_events() {
    let (connected, follow) = watch::channel(false);
    note(&Event::Connected, &connected);
    assert!(*follow.borrow());
    note(&Event::LameDuckMode, &connected);
    assert!(*follow.borrow());
    note(&Event::Disconnected, &connected);
    assert!(!*follow.borrow());
}

#[tokio::test]
async fn a_client_is_made_while_the_server_is_away() {
    let mut env = Env::from_pairs([(VARIABLE, "nats://127.0.0.1:1")]);
    let settings = Settings::read(&mut env);
    let settings = env.finish(settings).expect("valid settings");
    let nats = connect(&settings, "test", "test-0").await.expect("no server is needed yet");
    assert!(!nats.is_connected());
}

#[test]
fn addresses_reach_the_driver_without_credentials() {
    let url = Secret::from("nats://a:hunter2@h:4222?token=hunter3#hunter4, tls://b:hunter5@i");
    let all = addresses(&url).expect("valid addresses").into_iter();
    let all: Vec<_> = all.map(|one| without_credentials(one).expect("a valid address")).collect();
    assert!(!format!("{all:?}").contains("hunter"), "{all:?}");
    assert!(all[0].host() == "h" && all[1].tls_required());
}

fn login(pairs: &[(&str, &str)]) -> Result<Login, String> {
    let mut env = Env::from_pairs(pairs.iter().copied());
    let settings = Settings::read(&mut env);
    env.finish(settings).map(|settings| settings.login).map_err(|error| error.to_string())
}

#[test]
fn there_is_one_way_at_most_to_tell_who_we_are() {
    let is = |user: &str, password: &str| {
        Ok(Login::Password { user: user.to_owned(), password: Secret::from(password) })
    };
    let (plain, named) = ("nats://h:4222", "nats://relay:pw@h:4222,nats://i:4222");
    assert_eq!(login(&[(VARIABLE, plain)]), Ok(Login::Anonymous));
    assert_eq!(login(&[(VARIABLE, named)]), is("relay", "pw"));
    let same = "nats://h:4222,nats://relay:pw@i:4222,nats://relay:pw@j:4222";
    assert_eq!(login(&[(VARIABLE, same)]), is("relay", "pw"));
    assert_eq!(login(&[(VARIABLE, plain), (USER, "relay"), (PASSWORD, "p%w")]), is("relay", "p%w"));
    for wrong in [
        vec![(VARIABLE, named), (USER, "relay"), (PASSWORD, "pw")],
        vec![(VARIABLE, plain), (USER, "relay")],
        vec![(VARIABLE, plain), (PASSWORD, "pw")],
        vec![(VARIABLE, "nats://token@h")],
        vec![(VARIABLE, "nats://relay:p%40w@h")],
        vec![(VARIABLE, "nats://:pw@h")],
        vec![(VARIABLE, "nats://relay:pw@h,nats://relay:pw2@i")],
        vec![(VARIABLE, "nats://relay:pw@h,nats://other:pw@i")],
        vec![(VARIABLE, "nats://relay:pw@h,nats://token@i")],
        vec![(VARIABLE, "nats://relay:pw@h,nats://:pw@i")],
        vec![(VARIABLE, plain), (CREDENTIALS, "/not/there")],
    ] {
        let problem = login(&wrong).expect_err("a mistake");
        assert!(!problem.contains("pw") && !problem.contains("/not/there"), "{problem}");
    }
}

#[test]
fn addresses_of_nats_are_taken() {
    for url in [
        "nats://h",
        "nats://h:4222/",
        "tls://h:4222",
        "nats://127.0.0.1:4222",
        "nats://[2001:db8::7]:4222",
        "nats://a:4222, nats://b:4222",
        "NATS://h:4222",
        "Tls://h:4222",
        // The driver's short form.
        "h:4222",
    ] {
        assert_eq!(login(&[(VARIABLE, url)]), Ok(Login::Anonymous), "{url}");
    }
}

#[test]
fn an_address_that_cannot_be_used_is_refused_with_the_reason() {
    for (url, wanted) in [
        ("ws://a:hunter2@h:80", "must begin with nats:// or tls://"),
        ("wss://a:hunter2@h", "must begin with nats:// or tls://"),
        ("nats://h:4222,wss://h", "address 2 must begin with nats:// or tls://"),
        ("WSS://h", "must begin with nats:// or tls://"),
        ("http://h:4222", "must begin with nats:// or tls://"),
        ("nats://", "has no host"),
        ("tls://:4222", "is not nats://HOST:PORT"),
        ("nats://h:4222,", "address 2 is empty"),
        (",nats://h:4222", "address 1 is empty"),
        (",", "address 1 is empty"),
        ("nats:/h:4222", "has a path"),
        ("nats://h:4222/hunter2", "has a path"),
        ("nats://h:hunter2", "is not nats://HOST:PORT"),
        ("nats://u:1?hunter=9@h", "has an @ behind its host"),
        ("nats://u:1#hunter@h", "has an @ behind its host"),
        ("nats://u:1/hunter@h", "has an @ behind its host"),
        ("u:1?hunter@h", "has an @ behind its host"),
        ("nats://h:0", "is not nats://HOST:PORT"),
        ("nats://::1:4222", "nats://[ADDRESS]:PORT"),
    ] {
        let problem = login(&[(VARIABLE, url)]).expect_err(url);
        assert!(problem.contains(wanted) && !problem.contains("hunter"), "{url}: {problem}");
    }
}

#[tokio::test]
async fn no_client_is_made_for_an_address_of_websockets() {
    let mut env = Env::from_pairs([(VARIABLE, "nats://127.0.0.1:1")]);
    let settings = Settings::read(&mut env);
    let settings = Settings { url: Secret::from("wss://a:hunter2@127.0.0.1:1"), ..settings };
    let error = connect(&settings, "test", "test-0").await.expect_err("no WebSockets");
    assert!(matches!(error, Error::Address(_)) && !error.to_string().contains("hunter"), "{error}");
}
