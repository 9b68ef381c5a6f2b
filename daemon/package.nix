# The daemon; docs/nixos.md. Everything else that NixOS needs of it is in here too: unit, manual page, completions.
{ lib, rustPlatform, pkg-config, openssl, zlib, coreutils, installShellFiles, stdenv, commit ? "unknown" }:
rustPlatform.buildRustPackage {
  pname = "xtcp2";
  inherit ((lib.importTOML ../Cargo.toml).workspace.package) version;
  src = lib.fileset.toSource {
    root = ../.;
    fileset = lib.fileset.unions [
      ../Cargo.toml ../Cargo.lock ../rustfmt.toml ../clippy.toml ../deny.toml ../.cargo
      ../daemon ../soak ../proto ../modules ../microvms/scenarios ../docs ../scripts ../README.md ../LICENSE
    ];
  };
  cargoLock.lockFile = ../Cargo.lock;
  # librdkafka is built from source, against these; rustls brings its own TLS for HTTP.
  nativeBuildInputs = [ pkg-config installShellFiles ];
  buildInputs = [ openssl zlib ];
  # For `xtcp2 --version`: there is no repository in a build.
  env.XTCP2_COMMIT = commit;
  cargoBuildFlags = [ "--bin" "xtcp2" ];
  # The tests are checks of the flake: who wants the daemon need not wait for them.
  doCheck = false;

  postInstall = ''
    install -Dm 0644 -t $out/lib/systemd/system modules/xtcp2.service modules/xtcp2.socket
    substituteInPlace $out/lib/systemd/system/xtcp2.service \
      --replace-fail /usr/bin/xtcp2 $out/bin/xtcp2 --replace-fail /bin/kill ${coreutils}/bin/kill
  ''
  + lib.optionalString (stdenv.buildPlatform.canExecute stdenv.hostPlatform) ''
    $out/bin/xtcp2 man > xtcp2.1
    installManPage xtcp2.1
    installShellCompletion --cmd xtcp2 --bash <($out/bin/xtcp2 completions bash) \
      --zsh <($out/bin/xtcp2 completions zsh) --fish <($out/bin/xtcp2 completions fish)
  '';

  meta = {
    description = "Every TCP socket of every network namespace of a Linux host, one row each, from one thread";
    license = lib.licenses.mit;
    platforms = [ "x86_64-linux" "aarch64-linux" ];
    mainProgram = "xtcp2";
  };
}
