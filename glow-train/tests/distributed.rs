//! Processes on one machine that compute together, and what they report when one of them is missing, other
//! than the rest, or lost. Each test starts this program again, once a rank, with the environment of
//! torchrun.
use glow_train::distributed::{
    C10dErrorKind, Description, DistributedError, Environment, ProcessGroup, Rendezvous, Server,
};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use tch::{Kind, Tensor};

/// Long enough for machines that are busy.
const TIMEOUT: Duration = Duration::from_secs(60);

/// What a rank does; the test of this name starts it.
fn part(case: &str, environment: Environment) -> Result<String, DistributedError> {
    let rank = environment.rank;
    let timeout = match case {
        "absent" | "unreachable" => Duration::from_secs(2),
        "stopped" => Duration::from_secs(4),
        _ => TIMEOUT,
    };
    let rendezvous = Rendezvous::connect(environment, timeout)?;
    let lr = if case == "differs" && rank == 1 { 0.002 } else { 0.001 };
    let meeting =
        rendezvous.meet(Description::new().with("lr", lr).with("seed", 7), format!("of rank {rank}"))?;
    assert_eq!(meeting.offer(), "of rank 0");
    if case == "no device" && rank == 1 {
        meeting.fail("there is no device");
        return Ok("there is no device".into());
    }
    let group = meeting.connect(false)?;
    let ones = Tensor::ones([8], tch::kind::FLOAT_CPU);
    group.all_reduce(&ones, "testing")?;
    match case {
        "computes" => computes(&group)?,
        "killed" if rank == 1 => std::process::abort(),
        "stopped" if rank == 1 => {
            // SAFETY: stops this process alone.
            unsafe { libc::raise(libc::SIGSTOP) };
        }
        "fails" if rank == 1 => {
            group.announce("the disk is full");
            return Ok("the disk is full".into());
        }
        "sizes" => group.all_reduce(&Tensor::ones([8 + rank as i64], tch::kind::FLOAT_CPU), "testing")?,
        "strides" => group.all_reduce(&Tensor::ones([4, 4], tch::kind::FLOAT_CPU).tr(), "testing")?,
        _ => {}
    }
    for _ in 0..3 {
        group.all_reduce(&ones, "testing")?;
    }
    group.close()?;
    Ok("done".into())
}

fn computes(group: &ProcessGroup) -> Result<(), DistributedError> {
    let (rank, size) = (group.rank() as i64, group.world_size() as i64);
    let sum = (0..size).map(|rank| rank + 1).sum::<i64>() as f64;
    for kind in [Kind::Float, Kind::Double, Kind::BFloat16, Kind::Int64] {
        let tensor = Tensor::full([5, 3], rank + 1, (kind, tch::Device::Cpu));
        group.all_reduce(&tensor, "testing")?;
        assert!(tensor.to_kind(Kind::Double).eq(sum).all().int64_value(&[]) == 1, "{kind:?}");
    }
    // Gloo cuts large tensors into parts.
    let large = Tensor::arange(3_000_001, tch::kind::DOUBLE_CPU) * (rank + 1) as f64;
    let expected = Tensor::arange(3_000_001, tch::kind::DOUBLE_CPU) * sum;
    group.all_reduce(&large, "testing")?;
    assert!(large.equal(&expected));
    // A part of a larger tensor, and operations that overlap.
    let whole = Tensor::zeros([10], tch::kind::FLOAT_CPU);
    let parts = whole.split(5, 0);
    for part in &parts {
        let _ = part.shallow_clone().fill_(rank as f64);
    }
    group.agree(&[&parts[0], &parts[1]], "testing")?;
    let first = group.begin_all_reduce(&parts[0], "testing")?;
    let second = group.begin_all_reduce(&parts[1], "testing")?;
    second.finish(group)?;
    first.finish(group)?;
    assert_eq!(whole.sum(Kind::Double).double_value(&[]), 10.0 * (sum - size as f64));
    let tensor = Tensor::full([7], rank, tch::kind::FLOAT_CPU);
    group.broadcast(&tensor, size as usize - 1, "testing")?;
    assert_eq!(Vec::<f32>::try_from(tensor).unwrap(), [(size - 1) as f32; 7]);
    let bytes: Vec<u8> = (0..rank as u8 * 3).collect();
    for (rank, found) in group.all_gather_bytes(&bytes, "testing")?.into_iter().enumerate() {
        assert_eq!(found, (0..rank as u8 * 3).collect::<Vec<u8>>());
    }
    assert!(group.all_gather_bytes(&[], "testing")?.iter().all(Vec::is_empty));
    group.barrier("testing")
}

/// The variant, and what it names.
fn told(error: &DistributedError) -> String {
    match error {
        DistributedError::PeerLost { ranks, timed_out, .. } => format!("PeerLost {ranks:?} {timed_out}"),
        DistributedError::PeerFailed { rank, message } => format!("PeerFailed {rank} {message}"),
        DistributedError::Absent { ranks, .. } => format!("Absent {ranks:?}"),
        DistributedError::Differs { differences } => format!("Differs {}", differences.join("; ")),
        DistributedError::Superfluous { rank, .. } => format!("Superfluous {rank}"),
        DistributedError::PortInUse { source, .. } => {
            assert_eq!(source.kind, C10dErrorKind::Network);
            "PortInUse".into()
        }
        DistributedError::Unreachable { .. } => "Unreachable".into(),
        DistributedError::Mismatch { .. } => "Mismatch".into(),
        DistributedError::Tensor { .. } => "Tensor".into(),
        other => format!("{other:?}"),
    }
}

/// Not a test by itself: a rank of one, where the environment says so.
#[test]
fn a_rank() {
    let Ok(case) = std::env::var("GLOW_TEST_CASE") else {
        return;
    };
    tch::set_num_threads(1);
    let environment = Environment::read().unwrap().unwrap();
    let outcome = part(&case, environment);
    match &outcome {
        Ok(text) => eprintln!("outcome: {text}"),
        Err(error) => eprintln!("{error}\noutcome: {}", told(error)),
    }
    // As a program ends: without waiting for what will not come.
    std::process::exit(0);
}

struct Ranks(Vec<Child>);

impl Ranks {
    /// Starts a process for each of `ranks` = (RANK, WORLD_SIZE).
    fn start(case: &str, port: u16, agent_serves: bool, ranks: &[(usize, usize)]) -> Self {
        let start = |&(rank, world_size): &(usize, usize)| {
            let mut command = Command::new(std::env::current_exe().unwrap());
            command
                .args(["--exact", "a_rank", "--nocapture"])
                .env("GLOW_TEST_CASE", case)
                .env("RANK", rank.to_string())
                .env("WORLD_SIZE", world_size.to_string())
                .env("MASTER_ADDR", "127.0.0.1")
                .env("MASTER_PORT", port.to_string())
                .env("TORCHELASTIC_USE_AGENT_STORE", if agent_serves { "True" } else { "False" })
                .env_remove("GLOO_SOCKET_IFNAME")
                .stdout(Stdio::null())
                .stderr(Stdio::piped());
            command.spawn().unwrap()
        };
        Self(ranks.iter().map(start).collect())
    }

    /// What each says at its end; nothing where it was killed.
    fn outcomes(self) -> Vec<String> {
        let outcome = |child: Child| {
            let Output { stderr, .. } = child.wait_with_output().unwrap();
            let text = String::from_utf8_lossy(&stderr).into_owned();
            let outcome = text.lines().rev().find_map(|line| line.strip_prefix("outcome: "));
            outcome.map_or_else(|| format!("none: {}", text.trim()), str::to_string)
        };
        self.0.into_iter().map(outcome).collect()
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn run(case: &str, ranks: &[(usize, usize)]) -> Vec<String> {
    Ranks::start(case, free_port(), false, ranks).outcomes()
}

#[test]
fn two_and_three_processes_compute_together() {
    assert_eq!(run("computes", &[(0, 2), (1, 2)]), ["done"; 2]);
    assert_eq!(run("computes", &[(2, 3), (0, 3), (1, 3)]), ["done"; 3]);
}

#[test]
fn processes_that_differ_are_refused_by_name() {
    let difference = "Differs lr is 0.001 on rank 0 and 0.002 on rank 1";
    assert_eq!(run("differs", &[(0, 3), (1, 3), (2, 3)]), [difference; 3]);
    let difference = "Differs WORLD_SIZE is 2 on rank 0 and 3 on rank 1";
    let outcomes = run("world", &[(0, 2), (1, 3), (2, 3)]);
    assert_eq!(outcomes[..2], [difference; 2]);
    // Rank 0 does not know of it, and may be gone when it comes.
    let superfluous = ["Superfluous 2", "PeerLost [0] false", "Unreachable"];
    assert!(superfluous.contains(&outcomes[2].as_str()), "{outcomes:?}");
}

#[test]
fn who_does_not_come_is_named() {
    assert_eq!(run("absent", &[(0, 3), (2, 3)]), ["Absent [1]"; 2]);
    assert_eq!(run("unreachable", &[(1, 2)]), ["Unreachable"]);
}

#[test]
fn a_stranger_at_the_port_is_no_rank_0() {
    let stranger = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = stranger.local_addr().unwrap().port();
    // Rank 0 finds the port taken; rank 1 finds somebody who never answers.
    let started = Instant::now();
    let outcomes = Ranks::start("unreachable", port, false, &[(0, 2), (1, 2)]).outcomes();
    assert_eq!(outcomes, ["PortInUse", "Unreachable"]);
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    assert!(TcpStream::connect(("127.0.0.1", port)).is_ok());
}

#[test]
fn a_lost_process_is_named_by_all_others() {
    let started = Instant::now();
    let outcomes = run("killed", &[(0, 3), (1, 3), (2, 3)]);
    assert_eq!([&outcomes[0], &outcomes[2]], ["PeerLost [1] false"; 2]);
    assert!(outcomes[1].starts_with("none"), "{outcomes:?}");
    assert!(started.elapsed() < TIMEOUT, "found by the timeout alone");
}

#[test]
fn a_stopped_process_is_named_after_the_timeout() {
    let mut ranks = Ranks::start("stopped", free_port(), false, &[(0, 2), (1, 2)]);
    let stopped = ranks.0.pop().unwrap();
    assert_eq!(ranks.outcomes(), ["PeerLost [1] true"]);
    let mut stopped = stopped;
    stopped.kill().unwrap();
    stopped.wait().unwrap();
}

#[test]
fn the_reason_of_a_failure_reaches_all() {
    assert_eq!(
        run("fails", &[(0, 3), (1, 3), (2, 3)]),
        ["PeerFailed 1 the disk is full", "the disk is full", "PeerFailed 1 the disk is full"]
    );
    assert_eq!(
        run("no device", &[(0, 2), (1, 2)]),
        ["PeerFailed 1 there is no device", "there is no device"]
    );
}

#[test]
fn tensors_that_do_not_fit_are_refused() {
    assert_eq!(run("sizes", &[(0, 2), (1, 2)]), ["Mismatch"; 2]);
    assert_eq!(run("strides", &[(0, 2), (1, 2)]), ["Tensor"; 2]);
}

#[test]
fn processes_start_again_at_the_same_store() {
    let server = Server::start().unwrap();
    for world_size in [2, 2, 3] {
        let ranks: Vec<_> = (0..world_size).map(|rank| (rank, world_size)).collect();
        let outcomes = Ranks::start("computes", server.port(), true, &ranks).outcomes();
        assert_eq!(outcomes, vec!["done"; world_size]);
    }
}
