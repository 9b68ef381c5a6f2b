# Stands in for nixpkgs' packages, where nothing can be built: names and paths that modules put into text. What is
# generated keeps what it was made from, in `made`, for the test to look at.
{ lib, system ? "x86_64-linux", buildSystem ? system }:
let
  fake = name: made: fakeWith name { inherit made; };
  fakeWith =
    name: more:
    let
      self = {
        type = "derivation";
        inherit name;
        pname = name;
        version = "1";
        outPath = "/nix/store/${name}";
        drvPath = "/nix/store/${name}.drv";
        meta.mainProgram = name;
        passthru = { };
        override = _: self;
        overrideAttrs = _: self;
        out = self;
        bin = self;
        dev = self;
        lib = self;
        man = self;
      } // more;
    in
    self;
  platform = lib.systems.elaborate system;
  format = _: { type = lib.types.anything; generate = fake; };
  named = lib.genAttrs [
    # Of our own modules and files.
    "apacheKafka" "cacert" "cargo-deny" "clickhouse" "clippy" "coreutils" "docker" "gnugrep" "gnutar" "iproute2" "jre_headless"
    "kmod" "makeWrapper" "maven" "nix" "nixfmt-tree" "openssl" "pkg-config" "python3" "qemu_kvm" "rustfmt" "shellcheck" "socat"
    "valgrind" "xtcp2" "xtcp2-soak" "zlib"
    # Of the modules of nixpkgs and microvm.nix that these set options of.
    "bash" "dbus" "e2fsprogs" "findutils" "glibcLocales" "gnused" "grafana" "kexec-tools" "lvm2" "prometheus" "tzdata" "util-linux"
  ] (name: fake name null);
  packages = named // {
    inherit lib system;
    _type = "pkgs";
    pkgs = packages;
    buildPackages = packages;
    stdenv = {
      hostPlatform = platform;
      targetPlatform = platform;
      buildPlatform = lib.systems.elaborate buildSystem;
      is64bit = true;
    };
    callPackage = file: arguments: fake (baseNameOf (dirOf file)) (lib.functionArgs (import file));
    formats = lib.genAttrs [ "ini" "iniWithGlobalSection" "javaProperties" "json" "keyValue" "toml" "yaml" ] (_: format);
    runCommand = name: _: fake name;
    writeText = fake;
    # The text in the place of the path: a script that starts a script shows both.
    writeShellScript = name: text: fakeWith name { outPath = text; };
    writeShellScriptBin = fake;
    writeScript = fake;
    writeScriptBin = fake;
    writeTextFile = arguments: fake arguments.name arguments;
    runtimeShell = "/bin/bash";
    writeShellApplication = arguments: fake arguments.name arguments;
    symlinkJoin = arguments: fake arguments.name arguments;
    mkShell = fake "shell";
    dockerTools.buildLayeredImage = arguments: fake arguments.name arguments;
    testers.runNixOSTest = arguments: fake arguments.name arguments;
    rustPlatform = { rustLibSrc = "/nix/store/std"; importCargoLock = fake "crates"; };
    rustc-unwrapped = fakeWith "rustc-unwrapped" { llvm = fake "llvm" null; };
    wrapRustcWith = fake "rustc";
    grafanaPlugins.grafana-clickhouse-datasource = fake "grafana-clickhouse-datasource" null;
    linuxPackages = lib.makeExtensible (_: { kernel = fakeWith "linux" { version = "6.18"; config = { isYes = _: true; isEnabled = _: true; }; features = { }; }; });
    python3Packages.pyyaml = fake "pyyaml" null;
    apacheKafka = fakeWith "apacheKafka" { passthru.jre = named.jre_headless; };
    python3 = fakeWith "python3" { interpreter = "/nix/store/python3/bin/python3"; withPackages = _: named.python3; };
    systemd = fakeWith "systemd" { withCryptsetup = false; withTpm2Tss = false; inherit (named) util-linux; };
  };
in
packages
