// The library for Android Studio: copy edge/android into your project, `include(":edgeproof")` in settings.gradle.kts with
// `project(":edgeproof").projectDir = file("edgeproof")`, and `implementation(project(":edgeproof"))` in the app.
// Written for the Android Gradle Plugin 8; it was not run here (that plugin is not on Maven Central): pom.xml is what is.
plugins {
    id("com.android.library")
    id("org.jetbrains.kotlin.android")
}

android {
    namespace = "edgeproof.edge"
    compileSdk = 34

    defaultConfig {
        minSdk = 21
        consumerProguardFiles("consumer-rules.pro")
    }
    compileOptions {
        sourceCompatibility = JavaVersion.VERSION_1_8
        targetCompatibility = JavaVersion.VERSION_1_8
    }
    kotlinOptions {
        jvmTarget = "1.8"
    }
    sourceSets {
        getByName("main").java.srcDirs("src/main/java", "src/main/kotlin")
    }
    // In the app, too: a compressed model cannot be mapped into memory.
    androidResources {
        noCompress += "tflite"
    }
}

dependencies {
    api("org.tensorflow:tensorflow-lite:2.16.1")
}
