fn main() {
    for crd in enclave_operator::api::crds::all() {
        println!("---\n{}", serde_yaml_ng::to_string(&crd).unwrap());
    }
}
