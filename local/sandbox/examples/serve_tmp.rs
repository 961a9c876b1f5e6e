//! tmp
#[tokio::main]
async fn main() {
    let a: Vec<String> = std::env::args().collect();
    let s = sandbox::Sandbox::open(sandbox::Options { data: Some(a[2].clone().into()), webhook: None, public_url: format!("http://localhost:{}", a[1]), record: Some(a[3].clone().into()) }).unwrap();
    let l = tokio::net::TcpListener::bind(format!("127.0.0.1:{}", a[1])).await.unwrap();
    axum::serve(l, s.router()).await.unwrap();
}
