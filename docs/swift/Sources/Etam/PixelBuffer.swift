#if canImport(CoreVideo)
import CoreVideo

extension Frame {
    /// An upright frame from a buffer of the format `kCVPixelFormatType_32BGRA`, as a camera gives it when asked to.
    /// The pixels are copied, so that the buffer can go back to the camera.
    public init(_ buffer: CVPixelBuffer) throws {
        guard CVPixelBufferGetPixelFormatType(buffer) == kCVPixelFormatType_32BGRA else {
            throw EtamError("a pixel buffer should have the format kCVPixelFormatType_32BGRA")
        }
        CVPixelBufferLockBaseAddress(buffer, .readOnly)
        defer { CVPixelBufferUnlockBaseAddress(buffer, .readOnly) }
        let (width, height) = (CVPixelBufferGetWidth(buffer), CVPixelBufferGetHeight(buffer))
        guard let base = CVPixelBufferGetBaseAddress(buffer) else {
            throw EtamError("a pixel buffer has no memory")
        }
        let stride = CVPixelBufferGetBytesPerRow(buffer)  // may be more than 4 * width
        var bgra = [UInt8](repeating: 0, count: 4 * width * height)
        bgra.withUnsafeMutableBytes { bgra in
            for y in 0..<height {
                let row = UnsafeRawBufferPointer(start: base + y * stride, count: 4 * width)
                UnsafeMutableRawBufferPointer(rebasing: bgra[4 * y * width..<4 * (y + 1) * width]).copyMemory(from: row)
            }
        }
        self.init(width: width, height: height, bgra: bgra)
    }
}

/// The input `image` (1, 3, S, S), RGB 0..255, as a BGRA buffer, for packages that take an image.  Frames of a video
/// are whole numbers, so nothing is lost.
func pixelBuffer(_ image: Tensor) throws -> CVPixelBuffer {
    let (height, width) = (image.shape[2], image.shape[3])
    var made: CVPixelBuffer?
    let attributes = [kCVPixelBufferIOSurfacePropertiesKey: [String: Any]()] as CFDictionary
    CVPixelBufferCreate(nil, width, height, kCVPixelFormatType_32BGRA, attributes, &made)
    guard let buffer = made else {
        throw EtamError("there is no memory for a pixel buffer of \(width) x \(height)")
    }
    CVPixelBufferLockBaseAddress(buffer, [])
    defer { CVPixelBufferUnlockBaseAddress(buffer, []) }
    guard let base = CVPixelBufferGetBaseAddress(buffer) else { throw EtamError("a pixel buffer has no memory") }
    image.values.withUnsafeBufferPointer { values in
        for y in 0..<height {
            let row = base.advanced(by: y * CVPixelBufferGetBytesPerRow(buffer)).assumingMemoryBound(to: UInt8.self)
            for x in 0..<width {
                for channel in 0..<3 {
                    let value = values[(channel * height + y) * width + x]
                    row[4 * x + 2 - channel] = UInt8(min(max(value.rounded(.toNearestOrEven), 0), 255))
                }
                row[4 * x + 3] = 255
            }
        }
    }
    return buffer
}
#endif
