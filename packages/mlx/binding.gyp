{
  "variables": {
    # A folder with MLX's include/ and lib/. The addon finds the fetched MLX by a relative path, and one in another
    # place (MLX_ROOT) by its absolute path.
    "mlx_root%": "<(module_root_dir)/vendor/mlx",
    "mlx_elsewhere%": 0,
    "openblas_root": "<(module_root_dir)/vendor/scipy_openblas32"
  },
  "targets": [
    {
      "target_name": "mlx",
      "sources": [
        "native/addon.cc",
        "native/array.cc",
        "native/ops_math.cc",
        "native/ops_shape.cc",
        "native/environment.cc",
        "native/eval.cc",
        "native/io.cc",
        "native/blas.cc",
        "native/allocator.cc",
        "native/scheduler.cc",
        "native/threads.cc",
        "native/lifecycle.cc",
        "native/cpu/attention.cc",
        "native/cpu/convolution.cc",
        "native/cpu/fused.cc",
        "native/cpu/instruction_sets.cc",
        "native/cpu/kernels_bf16.cc",
        "native/cpu/kernels_generic.cc",
        "native/cpu/kernels_avx2.cc",
        "native/cpu/kernels_avx512.cc",
        "native/cpu/kernels_integer_avx2.cc",
        "native/cpu/kernels_vnni.cc",
        "native/cpu/linear.cc",
        "native/cpu/linear_integer.cc",
        "native/cpu/peak.cc",
        "native/cpu/primitives.cc",
        "native/cpu/quantize.cc"
      ],
      "include_dirs": ["<!(node -p \"require('node-addon-api').include_dir\")"],
      "defines": ["NAPI_VERSION=9", "NODE_ADDON_API_CPP_EXCEPTIONS_ALL", "NODE_ADDON_API_DISABLE_DEPRECATED",
        # A terminating worker cannot throw into JavaScript; without this, the process aborts.
        "NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS"],
      # Include MLX's folder as a system folder, to silence warnings in its headers.
      "conditions": [
        ["mlx_elsewhere==1", {
          "defines": ["MLX_LIBRARY_FOLDER=\"<(mlx_root)/lib\""]
        }, {
          "defines": ["MLX_LIBRARY_FOLDER=\"../../vendor/mlx/lib\""]
        }],
        ["OS=='linux'", {
          "cflags!": ["-O3"],
          "cflags_cc!": ["-std=gnu++17", "-std=gnu++20", "-fno-exceptions", "-fno-rtti", "-O3"],
          "cflags_cc": [
            "-std=c++20", "-O2", "-fexceptions", "-frtti", "-fvisibility=hidden",
            # Our vectors stay inside one file, so it does not matter how other compilers pass them.
            "-Wno-psabi",
            "-isystem", "<(mlx_root)/include"
          ],
          "ldflags": [
            "-L<(mlx_root)/lib",
            "-L<(openblas_root)/lib",
            # Takes precedence over LD_LIBRARY_PATH, which may contain an incompatible MLX.
            "-Wl,--disable-new-dtags",
            "-Wl,-rpath,'$$ORIGIN/../../vendor/scipy_openblas32/lib'",
            # Threads of MLX run this code until the process exits.
            "-Wl,-z,nodelete"
          ],
          "libraries": ["-lmlx", "-lscipy_openblas", "-ldl", "-pthread"],
          "conditions": [
            ["mlx_elsewhere==1", {
              "ldflags": ["-Wl,-rpath,<(mlx_root)/lib"]
            }, {
              "ldflags": ["-Wl,-rpath,'$$ORIGIN/../../vendor/mlx/lib'"]
            }]
          ]
        }],
        ["OS=='mac'", {
          "xcode_settings": {
            "CLANG_CXX_LANGUAGE_STANDARD": "c++20",
            "CLANG_CXX_LIBRARY": "libc++",
            "GCC_ENABLE_CPP_EXCEPTIONS": "YES",
            "GCC_ENABLE_CPP_RTTI": "YES",
            "GCC_SYMBOLS_PRIVATE_EXTERN": "YES",
            "GCC_OPTIMIZATION_LEVEL": "2",
            # The oldest version that MLX's wheels support.
            "MACOSX_DEPLOYMENT_TARGET": "14.0",
            "OTHER_CFLAGS": ["-Wall", "-Wextra", "-isystem", "<(mlx_root)/include"],
            "OTHER_LDFLAGS": ["-L<(mlx_root)/lib"]
          },
          "libraries": ["-lmlx"],
          "conditions": [
            ["mlx_elsewhere==1", {
              "xcode_settings": { "OTHER_LDFLAGS": ["-Wl,-rpath,<(mlx_root)/lib"] }
            }, {
              "xcode_settings": { "OTHER_LDFLAGS": ["-Wl,-rpath,@loader_path/../../vendor/mlx/lib"] }
            }]
          ]
        }]
      ]
    },
    {
      "target_name": "exit_guard",
      "sources": ["native/exit_guard.cc"],
      "include_dirs": ["<!(node -p \"require('node-addon-api').include_dir\")"],
      "defines": ["NAPI_VERSION=9", "NODE_ADDON_API_CPP_EXCEPTIONS", "NODE_ADDON_API_DISABLE_DEPRECATED"],
      "conditions": [
        ["OS=='linux'", {
          "cflags_cc!": ["-std=gnu++17", "-std=gnu++20", "-fno-exceptions", "-fno-rtti"],
          "cflags_cc": ["-std=c++20", "-fexceptions", "-fvisibility=hidden"],
          "libraries": ["-pthread"]
        }],
        ["OS=='mac'", {
          "xcode_settings": {
            "CLANG_CXX_LANGUAGE_STANDARD": "c++20",
            "CLANG_CXX_LIBRARY": "libc++",
            "GCC_ENABLE_CPP_EXCEPTIONS": "YES",
            "GCC_SYMBOLS_PRIVATE_EXTERN": "YES",
            "MACOSX_DEPLOYMENT_TARGET": "14.0"
          }
        }]
      ]
    }
  ]
}
