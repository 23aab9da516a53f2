module enclave-operator.io/tools/prometheus-crds

go 1.26.0

// Only for its folder example/prometheus-operator-crd: the CRDs of ServiceMonitor and PrometheusRule.
require github.com/prometheus-operator/prometheus-operator v0.85.0
