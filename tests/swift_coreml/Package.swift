// swift-tools-version:5.9
import PackageDescription

// The sources of docs/swift once more, through symlinks, with modules that stand in for Apple's frameworks.
let package = Package(
    name: "swift-coreml",
    targets: [
        .target(name: "CoreVideo"),
        .target(name: "CoreGraphics"),
        .target(name: "AVFoundation", dependencies: ["CoreVideo"]),
        .target(name: "CoreML", dependencies: ["CoreVideo"]),
        .target(name: "Etam", dependencies: ["CoreML", "CoreVideo"]),
        .executableTarget(name: "etam-check", dependencies: ["Etam", "CoreML"]),
    ]
)
