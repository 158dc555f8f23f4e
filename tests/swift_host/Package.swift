// swift-tools-version:5.9
import PackageDescription

let package = Package(
    name: "swift-host",
    platforms: [.macOS(.v14)],
    dependencies: [.package(name: "Etam", path: "../../docs/swift")],
    targets: [.executableTarget(name: "swift-host", dependencies: [.product(name: "Etam", package: "Etam")])]
)
