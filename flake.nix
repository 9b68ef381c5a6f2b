{
  description = "Every TCP socket of every network namespace of a Linux host, one row each, from one thread";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";
  # Only its modules are used: as a flake it would bring inputs of its own.
  inputs.microvm = { url = "github:microvm-nix/microvm.nix"; flake = false; };

  outputs =
    { self, nixpkgs, microvm }:
    let
      inherit (nixpkgs) lib;
      systems = [ "x86_64-linux" "aarch64-linux" ];
      perSystem = make: lib.genAttrs systems (system: make nixpkgs.legacyPackages.${system} self.packages.${system});
      app = program: { type = "app"; inherit program; };
    in
    {
      packages = perSystem (pkgs: own: {
        default = own.xtcp2;
        xtcp2 = pkgs.callPackage ./daemon/package.nix { commit = self.shortRev or "unknown"; };
        xtcp2-soak = pkgs.callPackage ./soak/package.nix { inherit (own) xtcp2; };
        pipeline = pkgs.callPackage ./scripts/pipeline.d/package.nix { };
        image = pkgs.dockerTools.buildLayeredImage {
          name = "xtcp2";
          tag = own.xtcp2.version;
          config = { Entrypoint = [ (lib.getExe own.xtcp2) ]; Env = [ "SSL_CERT_FILE=${pkgs.cacert}/etc/ssl/certs/ca-bundle.crt" ]; };
        };
        test-race = self.checks.${pkgs.stdenv.hostPlatform.system}.test-race;
      });

      overlays.default = final: _: { inherit (self.packages.${final.stdenv.hostPlatform.system}) xtcp2 xtcp2-soak; };

      # The package of this flake and not an overlay, which a host with packages of its own would have to refuse.
      nixosModules.default =
        { pkgs, ... }:
        {
          imports = [ ./modules/pipeline.nix ];
          services.xtcp2.package = lib.mkDefault self.packages.${pkgs.stdenv.hostPlatform.system}.xtcp2;
        };

      checks = perSystem (pkgs: own:
        import ./daemon/checks.nix { inherit pkgs; inherit (own) xtcp2 xtcp2-soak; }
        // import ./modules/checks.nix { inherit pkgs nixpkgs microvm; module = self.nixosModules.default; });

      apps = perSystem (pkgs: own:
        let
          guests = import ./microvms { inherit nixpkgs microvm pkgs; inherit (own) xtcp2-soak pipeline; module = self.nixosModules.default; };
          architecture = pkgs.stdenv.hostPlatform.uname.processor;
          # In a checkout, as root: they build with a shell below, and make network namespaces.
          measure = name: shell: app (lib.getExe (pkgs.writeShellScriptBin name ''exec nix develop .#${shell} --command scripts/${name} "$@"''));
          named = lib.mapAttrs' (name: start: lib.nameValuePair "microvm-${architecture}-${name}" (app (lib.getExe start))) guests;
        in
        named
        // {
          # The soak that the reference is known for.
          "microvm-${architecture}-soak" = named."microvm-${architecture}-namespace-churn";
          soak = app "${own.xtcp2-soak}/bin/xtcp2-soak";
          bench-polls = measure "bench-polls" "default";
          bench-builds = measure "bench-builds" "bench-builds";
        });

      devShells = perSystem (pkgs: own: {
        default = pkgs.mkShell {
          inputsFrom = [ own.xtcp2 ];
          packages = with pkgs; [ cargo-deny clippy rustfmt shellcheck python3 python3Packages.pyyaml iproute2 jre_headless maven ];
        };
        # For profile-guided builds: llvm-profdata where rustup puts it, of the LLVM that rustc was built with.
        bench-builds =
          let
            sysroot = pkgs.symlinkJoin {
              name = "rust-with-profdata";
              paths = [ pkgs.rustc-unwrapped ];
              postBuild = ''
                bin=$out/lib/rustlib/${pkgs.stdenv.hostPlatform.rust.rustcTarget}/bin
                mkdir -p $bin
                ln -s ${pkgs.rustc-unwrapped.llvm}/bin/llvm-profdata $bin
              '';
            };
          in
          pkgs.mkShell {
            inputsFrom = [ own.xtcp2 ];
            # rustc in front of the one that has none.
            packages = [ (pkgs.wrapRustcWith { inherit (pkgs) rustc-unwrapped; inherit sysroot; }) pkgs.valgrind pkgs.python3 pkgs.iproute2 ];
          };
      });

      formatter = perSystem (pkgs: _: pkgs.nixfmt-tree);
    };
}
