//! AN0972 and AN0083 from counters.

use serde_json::json;

use super::{START_S, alerts, at};

/// A value a period: much the same for long, then another.
fn series(quiet: i64, loud: i64, period_s: i64, then: u64) -> Vec<(i64, u64)> {
    let usual = |at: i64| 1_000_000 + 1_000 * (at % 7) as u64;
    let value = |at: i64| if at < quiet { usual(at) } else { then };
    (0..quiet + loud).map(|at| (START_S + period_s * at, value(at))).collect()
}

fn counters(kind: &str, then: u64) -> String {
    let mut total = 1_000_000_000;
    match kind {
        "cloudwatch" => {
            let points = series(30, 6, 300, then);
            let times: Vec<String> =
                points.iter().map(|&(second, _)| at(second, "%Y-%m-%dT%H:%M:%S+00:00")).collect();
            let values: Vec<f64> = points.iter().map(|&(_, bytes)| bytes as f64).collect();
            let label = "i-0123456789abcdef0 NetworkOut";
            json!({"MetricDataResults": [{
                "Id": "m1", "Label": label, "Timestamps": times, "Values": values,
                "StatusCode": "Complete",
            }]})
            .to_string()
        }
        "docker-stats" => series(60, 20, 60, then)
            .into_iter()
            .map(|(second, bytes)| {
                total += bytes;
                let line = json!({
                    "BlockIO": "0B / 0B", "CPUPerc": "0.26%", "Container": "171dd26cd78c",
                    "ID": "171dd26cd78c", "MemPerc": "0.00%", "MemUsage": "344KiB / 23.54GiB",
                    "Name": "job-1", "NetIO": format!("200kB / {total}B"), "PIDs": "1",
                });
                format!("{second}.000000000\n{line}\n")
            })
            .collect(),
        _ => series(60, 20, 60, then)
            .into_iter()
            .map(|(second, bytes)| {
                total += bytes;
                let labels = "{container=\"\",id=\"/kubepods/pod1\",image=\"\",interface=\"eth0\",name=\"\",\
                              namespace=\"shop\",pod=\"job-1\"}";
                format!(
                    "{second}.000000000\ncontainer_network_transmit_bytes_total{labels} {total}\n\
                     container_network_receive_bytes_total{labels} 1000\n"
                )
            })
            .collect(),
    }
}

#[test]
fn an0972_and_an0083_from_each_kind_of_counters_alone() {
    for (kind, analytic, entity) in [
        ("cloudwatch", "AN0972", "i-0123456789abcdef0"),
        ("docker-stats", "AN0083", "171dd26cd78c"),
        ("prometheus", "AN0083", "/kubepods/pod1"),
    ] {
        let found = alerts(kind, &counters(kind, 500_000_000), &[]);
        assert_eq!(found.len(), 1, "{kind}: {found:#?}");
        let alert = &found[0];
        assert_eq!(alert["detector"], "counter_increase", "{kind}");
        assert_eq!(alert["analytics"], json!([analytic]), "{kind}");
        assert_eq!(alert["entity"]["id"], entity, "{kind}");
        assert!(alerts(kind, &counters(kind, 1_200_000), &[]).is_empty(), "{kind}: a little more");
    }
}
