# Checks of the crates, each a build that makes nothing.
{ pkgs, xtcp2, xtcp2-soak }:
let
  inherit (pkgs) lib rustPlatform;
  cargo =
    name: tools: command:
    xtcp2.overrideAttrs (old: {
      pname = "xtcp2-${name}";
      nativeBuildInputs = old.nativeBuildInputs ++ tools;
      # Only here: tests of release builds would need another build of everything.
      cargoBuildType = "debug";
      buildPhase = "runHook preBuild; ${command}; runHook postBuild";
      installPhase = "touch $out";
    });

  # -Zbuild-std wants the standard library's source in the sysroot, and the crates of both lock files. Its own is read while
  # this is evaluated, out of a build (import from derivation).
  sysroot = pkgs.symlinkJoin {
    name = "rust-with-source";
    paths = [ pkgs.rustc-unwrapped ];
    postBuild = "mkdir -p $out/lib/rustlib/src/rust && ln -s ${rustPlatform.rustLibSrc} $out/lib/rustlib/src/rust/library";
  };
  crates = pkgs.symlinkJoin {
    name = "crates-with-those-of-std";
    paths = map (lockFile: rustPlatform.importCargoLock { inherit lockFile; }) [
      ../Cargo.lock
      "${rustPlatform.rustLibSrc}/Cargo.lock"
    ];
  };
in
{
  # Tests that cannot do without root or a network namespace say so and pass; test-module has both.
  tests = cargo "tests" [ pkgs.iproute2 ] "cargo test --offline --locked --workspace --all-targets --no-fail-fast";
  clippy = cargo "clippy" [ pkgs.clippy ] "cargo clippy --offline --locked --workspace --all-targets -- -D warnings";
  fmt = cargo "fmt" [ pkgs.rustfmt ] "cargo fmt --all --check";
  deny = cargo "deny" [ pkgs.cargo-deny ] "cargo deny --offline --locked --all-features check licenses bans sources";
  # Each fuzz target with its corpus and some thousand inputs, by the test runner.
  test-fuzz-smoke = cargo "fuzz-smoke" [ ] "cargo test --offline --locked -p xtcp2 --test fuzz";
  test-race = (cargo "race" [ pkgs.valgrind ] "bash scripts/test-race").overrideAttrs (old: {
    cargoDeps = crates;
    # In front of the one that has no source.
    nativeBuildInputs = [
      (pkgs.wrapRustcWith { inherit (pkgs) rustc-unwrapped; inherit sysroot; })
    ]
    ++ old.nativeBuildInputs;
  });
  scenarios = pkgs.runCommand "xtcp2-scenarios" { } ''
    ${lib.getExe xtcp2-soak} check --scenarios ${../microvms/scenarios} > $out
  '';
}
