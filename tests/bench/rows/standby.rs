//! What a replica that stands by holds more after much has changed.

use std::time::{Duration, Instant};

use enclave_operator::api::EnclaveConnection;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::{Measuring, limit};
use crate::create::each;
use crate::load::Load;
use crate::measure::{CLIENT, resident, wait_until_quiet};
use crate::stage::Stage;

pub async fn measure(measuring: &mut Measuring<'_>, stage: &mut Stage, load: &Load) {
    let replica = stage.spawn_operator().await;
    wait_until_quiet(replica.id(), CLIENT, limit(load.enclaves)).await;
    let before = resident(replica.id());
    let (began, mut changes) = (Instant::now(), 0);
    let mut enabled = false;
    while began.elapsed() < Duration::from_secs(measuring.settings.standby_seconds) {
        each(0..load.enclaves.min(100), async |number| {
            let client = stage.owner.client.clone();
            let connections: Api<EnclaveConnection> = Api::namespaced(client, &load.control(number));
            let patch = Patch::Merge(json!({"spec": {"enabled": enabled}}));
            connections.patch("c0", &PatchParams::default(), &patch).await.unwrap();
        })
        .await;
        changes += load.enclaves.min(100);
        stage.wait_until_quiet(limit(load.enclaves)).await;
        enabled = !enabled;
    }
    let after = resident(replica.id());
    let what = "resident memory that a replica that stands by gains while connections close and open";
    let raw = json!({
        "before": before, "after": after, "changes": changes, "seconds": began.elapsed().as_secs(),
    });
    measuring.add(measuring.figure(what, "MiB", after - before).raw(raw).at_most(4.0));
}
