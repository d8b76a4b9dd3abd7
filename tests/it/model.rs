//! Random command sequences against the model of the contract (I1, I2, I5, I6, I12). Commands arrive in batches, from
//! two processes, while processes are killed. Every answer and every state equals the model's, and count == list ==
//! check at every revision.
//!
//! `FOLLOWGRAPH_TEST_MODEL_CASES=1000` is the long form; `FOLLOWGRAPH_TEST_MODEL_SEED` changes the sequences. A failure
//! prints its seed and the shortest sequence that fails.

mod compare;
mod run;
mod steps;
mod watch;
mod world;

use devstack::env_file::Env;
use devstack::services::Program;
use proptest::test_runner::{Config, RngSeed, TestRunner};
use tests::proxy::CommitLoser;
use tests::{Own, truth};
use tokio::runtime::Handle;
use tokio::task::block_in_place;

use watch::Watch;
use world::World;

/// Number of cases of the short form.
const CASES: u32 = 30;
const SEED: u64 = 4;

fn number<T: std::str::FromStr>(variable: &str, otherwise: T) -> T {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

#[tokio::test(flavor = "multi_thread")]
async fn random_commands_with_kills_give_the_state_of_the_model() {
    let seed = number("FOLLOWGRAPH_TEST_MODEL_SEED", SEED);
    let config = Config {
        cases: number("FOLLOWGRAPH_TEST_MODEL_CASES", CASES),
        rng_seed: RngSeed::Fixed(seed),
        // A case takes seconds, because it restarts servers.
        max_shrink_iters: 60,
        failure_persistence: None,
        ..Config::default()
    };
    // Jobs of many steps, though accounts have few edges; and a proxy that loses replies to commits.
    let (sender, receiver) = std::sync::mpsc::channel();
    let runtime = Handle::current();
    let own = Own::light()
        .start_through(move |servers| {
            let proxy = runtime.block_on(CommitLoser::before(&mut servers.postgres));
            sender.send(proxy).expect("the test waits");
            Env::default().with("JOB_STEP_EDGES", "2").with("JOB_STEP_PAUSE_RATIO", "0")
        })
        .await;
    let proxy = receiver.recv().expect("a proxy");
    let second = own.another(Program::Command);
    let endpoints = own.endpoints.clone();
    let watch = Watch::start(&endpoints).await;
    let world = World::new(own, second, proxy).await;

    let handle = Handle::current();
    let outcome = block_in_place(|| {
        TestRunner::new(config).run(&steps::sequence(), |sequence| {
            handle.block_on(async {
                world.play(&sequence).await;
                watch.look().await;
            });
            Ok(())
        })
    });
    if let Err(error) = outcome {
        panic!("FOLLOWGRAPH_TEST_MODEL_SEED={seed}: {error}\n{}", world.story());
    }
    println!("{}", world.story());

    truth::assert_agreement(&endpoints, 20).await;
    watch.finish(&endpoints).await;
}
