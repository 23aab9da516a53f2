//! What a number of enclaves costs, from the first that is declared to the last connection that is open.

use std::time::{Duration, Instant};

use enclave_operator::api::{Community, Enclave, EnclaveConnection, State};
use futures::StreamExt;
use kube::Api;
use serde_json::{Value, json};

use super::{Measuring, Turn, limit, turns};
use crate::bare_client::{Children, Provisioned};
use crate::counts::Counts;
use crate::create::{IN_FLIGHT, each};
use crate::load::Load;
use crate::measure::resident;
use crate::settings::Extent;
use crate::sightings::Sightings;
use crate::stage::Stage;

/// What an Enclave with its workload, endpoint and five connections costs at most, in requests of the operator.
struct Most {
    writes: f64,
    reads: f64,
    events: f64,
}

/// Whoever lowers it writes it here.
const MOST: Most = Most { writes: 38.0, reads: 4.4, events: 0.1 };
/// Of few enclaves the Community's share is larger. And an unoptimised operator publishes steps that are one for a fast
/// one.
const MOST_OF_FEW: Most = Most { writes: 46.0, reads: 10.0, events: 1.0 };

/// Declared objects of an Enclave: itself, a workload, an endpoint, five connections.
const DECLARED: f64 = 8.0;

/// Takes turns with B1, and leaves a cluster with an operator that manages the load.
pub async fn measure(measuring: &mut Measuring<'_>, load: &Load) -> Stage {
    let mut kept: Option<(Stage, Children)> = None;
    let (mut operator, mut bare) = (Vec::new(), Vec::new());
    let mut counts = Vec::new();
    for turn in turns(measuring.settings.pairs) {
        match (turn, &mut kept) {
            (Turn::Operator, _) => {
                drop(kept.take());
                let (stage, provisioned, counted) = operate(measuring, load).await;
                operator.push(provisioned);
                counts.push(counted);
                let children = Children::read(&stage.administrator).await;
                kept = Some((stage, children));
            }
            (Turn::Baseline, Some((stage, children))) => {
                stage.stop_operator();
                bare.push(baseline(measuring, load, children).await);
            }
            (Turn::Baseline, None) => unreachable!("the first turn is the operator's"),
        }
    }
    let pairs = |of: fn(&Provisioned) -> f64| -> Vec<(f64, f64)> {
        operator.iter().map(of).zip(bare.iter().map(of)).collect()
    };
    let wall = measuring.paired("wall", "s", &pairs(|one| one.wall.as_secs_f64()));
    measuring.add(wall.ratio_at_most(2.0));
    let api_server = measuring.paired("processor time of the API server", "s", &pairs(|one| one.api_server));
    measuring.add(api_server.ratio_at_most(2.0));
    let (enclaves, connections) = (load.enclaves as f64, (load.enclaves * load.connections) as f64);
    let cpu: Vec<f64> = operator.iter().map(|one| one.operator * 1000.0 / connections).collect();
    let cpu = measuring.median("processor time of the operator per connection", "ms", &cpu);
    measuring.add(cpu.at_most(3.0));

    let (stage, children) = kept.expect("the operator had a turn");
    let made = children.count() as f64 / enclaves;
    // Those of the Community count too; they are few.
    let per_enclave = |of: fn(&Counts) -> usize| -> Vec<f64> {
        counts.iter().map(|counts| of(counts) as f64 / enclaves).collect()
    };
    let writes = measuring.median("writes per enclave", "", &per_enclave(Counts::writes));
    let is_few = load.enclaves < 100 || measuring.settings.extent == Extent::Quick;
    let most = if is_few { MOST_OF_FEW } else { MOST };
    let kinds = json!({ "made": made, "turns": counts });
    measuring.add(writes.raw(kinds).at_most((made + 2.0 * DECLARED).ceil()).bound(most.writes));
    let events = measuring.median("Events per enclave", "", &per_enclave(|counts| counts.events));
    measuring.add(events.at_most(0.0).bound(most.events));
    let reads = measuring.median("reads per enclave", "", &per_enclave(|counts| counts.reads));
    measuring.add(reads.at_most(4.0).bound(most.reads));

    let memory: Vec<f64> = operator.iter().map(|one| one.resident).collect();
    measuring.add(measuring.median("resident memory of the operator after the work", "MiB", &memory));
    // It was stopped while the baseline had its turn, unless the last turn was its own.
    let mut stage = stage;
    stage.stop_operator();
    stage.start_operator().await;
    stage
}

async fn operate(measuring: &mut Measuring<'_>, load: &Load) -> (Stage, Provisioned, Counts) {
    let mut stage = Stage::set(measuring.settings).await;
    measuring.report.machine().kubernetes = stage.kubernetes();
    stage.start_operator().await;
    let since = stage.count_requests();
    let provisioned = provision(&stage, load, &json!({})).await;
    let counts = since.count();
    measuring.say(&format!(
        "operator: {provisioned:.2?}, {} writes, {} reads",
        counts.writes(),
        counts.reads
    ));
    (stage, provisioned, counts)
}

async fn baseline(measuring: &Measuring<'_>, load: &Load, children: &Children) -> Provisioned {
    let stage = Stage::set(measuring.settings).await;
    let provisioned = children.provision(&stage, load).await;
    measuring.say(&format!("bare client: {provisioned:.2?}, {} children", children.count()));
    provisioned
}

/// Declares a load whose connections need no approval, and waits until they are open and the operator is
/// quiet.
pub async fn provision(stage: &Stage, load: &Load, rules: &Value) -> Provisioned {
    let connected = Sightings::of(stage.everywhere::<EnclaveConnection>(), is_connected).await;
    let before = connected.count();
    declare_community(stage, load, rules).await;
    let (began, operator, api_server) = (Instant::now(), stage.operator_cpu(), stage.api_server_cpu());
    declare(stage, load).await;
    let wanted = before + load.enclaves * load.connections;
    let what = format!("all connections of {} are open", load.community);
    let last = connected.wait_for_count(wanted, limit(load.enclaves), &what).await;
    let wall = last.duration_since(began);
    // What was told is taken off later, which counts too.
    let asking = stage.wait_until_settled(limit(load.enclaves)).await;
    Provisioned {
        wall,
        api_server: stage.api_server_cpu() - api_server - asking,
        operator: stage.operator_cpu() - operator,
        resident: resident(stage.operator_id()),
    }
}

/// Makes the Community and waits until it is in force.
pub async fn declare_community(stage: &Stage, load: &Load, rules: &Value) {
    let is_active = |community: &Community| {
        community.status.as_ref().and_then(|status| status.gate.state) == Some(State::Active)
    };
    let active = Sightings::of(stage.everywhere::<Community>(), is_active).await;
    let api = Api::all(stage.owner.client.clone());
    stage.owner.create_in(&api, &load.community(rules)).await;
    let key = (String::new(), load.community.to_owned());
    active.wait_for_all(&[key], true, Duration::from_secs(120), "the Community is in force").await;
}

/// Declares the enclaves, and what is in each as soon as it is in force.
pub async fn declare(stage: &Stage, load: &Load) {
    let enclaves: Api<Enclave> = Api::namespaced(stage.administrator.clone(), load.community);
    let is_active = |enclave: &Enclave| {
        enclave.status.as_ref().and_then(|status| status.gate.state) == Some(State::Active)
    };
    let mut active = Sightings::of(enclaves, is_active).await;
    let enclaves = each(0..load.enclaves, async |number| {
        drop(stage.owner.create(&load.enclave(number)).await);
    });
    let in_force = futures::stream::unfold(&mut active, async |active| Some((active.next().await, active)));
    let contents = in_force.take(load.enclaves).for_each_concurrent(4 * IN_FLIGHT, async |(_, name)| {
        let number = Load::enclave_number(&name);
        tokio::join!(
            async { drop(stage.owner.create(&load.workload(number)).await) },
            async { drop(stage.owner.create(&load.endpoint(number)).await) },
            stage.owner.create_all(load.connections(number)),
        );
    });
    let declaring = async { tokio::join!(enclaves, contents) };
    let declared = tokio::time::timeout(limit(load.enclaves), declaring).await;
    assert!(declared.is_ok(), "not all enclaves of {} are in force in time", load.community);
}

fn is_connected(connection: &EnclaveConnection) -> bool {
    connection.status.as_ref().and_then(|status| status.gate.state) == Some(State::Connected)
}
