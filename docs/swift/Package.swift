// swift-tools-version:5.9
import PackageDescription

let package = Package(
    name: "Etam",
    platforms: [.iOS(.v17), .macOS(.v14)],
    products: [.library(name: "Etam", targets: ["Etam"])],
    targets: [
        // Optimised also in debug builds: the loops over pixels are hundreds of times slower otherwise.
        .target(name: "Etam", swiftSettings: [.unsafeFlags(["-O"], .when(configuration: .debug))]),
        .executableTarget(name: "etam-check", dependencies: ["Etam"]),
    ]
)
