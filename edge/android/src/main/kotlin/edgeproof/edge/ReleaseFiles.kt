package edgeproof.edge

import android.content.res.AssetManager
import java.io.File
import java.io.FileInputStream
import java.io.IOException
import java.io.InputStream
import java.nio.MappedByteBuffer
import java.nio.channels.FileChannel

/** Where the files of a release are. */
interface ReleaseFiles {
    /** What messages call the place. */
    val name: String

    /** Opens a file. */
    fun open(file: String): InputStream

    /** Maps a file into memory: it is not copied, and pages that are not used are not read. */
    fun map(file: String): MappedByteBuffer
}

/** A directory: what `Bundle.unpack` made of a downloaded bundle. */
class DirectoryFiles(private val directory: File) : ReleaseFiles {
    override val name: String = directory.path

    override fun open(file: String): InputStream = FileInputStream(File(directory, file))

    override fun map(file: String): MappedByteBuffer =
        FileInputStream(File(directory, file)).use { it.channel.map(FileChannel.MapMode.READ_ONLY, 0, it.channel.size()) }
}

/** A folder of an app's assets: what `edgeproof release export --format android` wrote. The model must lie there uncompressed. */
class AssetFiles(private val assets: AssetManager, private val folder: String) : ReleaseFiles {
    override val name: String = "assets/$folder"

    override fun open(file: String): InputStream = assets.open("$folder/$file")

    override fun map(file: String): MappedByteBuffer {
        val descriptor =
            try {
                assets.openFd("$folder/$file")
            } catch (error: IOException) {
                throw EdgeproofException(
                    "$name/$file is not there, or is compressed. Put androidResources { noCompress += \"tflite\" } into build.gradle.kts.",
                    error,
                )
            }
        descriptor.use { asset ->
            FileInputStream(asset.fileDescriptor).use { stream ->
                return stream.channel.map(FileChannel.MapMode.READ_ONLY, asset.startOffset, asset.declaredLength)
            }
        }
    }
}
