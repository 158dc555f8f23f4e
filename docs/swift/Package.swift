// swift-tools-version:5.9
import PackageDescription

let package = Package(
    name: "Etam",
    platforms: [.iOS(.v17), .macOS(.v14)],
    products: [.library(name: "Etam", targets: ["Etam"])],
    targets: [
        .target(name: "Etam"),
        .executableTarget(name: "etam-check", dependencies: ["Etam"]),
    ]
)
