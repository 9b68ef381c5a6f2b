# A program for each scenario that starts its guest: { namespace-churn = derivation; ... }.
{ nixpkgs, microvm, module, pkgs, xtcp2-soak, pipeline }:
let
  inherit (nixpkgs) lib;
  names = map (lib.removeSuffix ".toml") (lib.attrNames (builtins.readDir ./scenarios));
  guest =
    name: kvm:
    nixpkgs.lib.nixosSystem {
      inherit (pkgs.stdenv.hostPlatform) system;
      modules = [
        (microvm + "/nixos-modules/microvm")
        module
        (import ./guest.nix { inherit name kvm xtcp2-soak pipeline; })
      ];
    };
  start =
    name:
    let
      ports = (builtins.fromTOML (builtins.readFile (./scenarios + "/${name}.toml"))).ports;
      runner = kvm: "${(guest name kvm).config.microvm.declaredRunner}/bin/microvm-run";
    in
    pkgs.writeShellApplication {
      name = "microvm-${name}";
      runtimeInputs = [ pkgs.coreutils pkgs.gnugrep pkgs.iproute2 ];
      runtimeEnv = {
        SCENARIO = name;
        KVM = runner true;
        TCG = runner false;
        PORTS = toString (lib.mapAttrsToList (port: number: "${port}=${toString number}") ports);
      };
      text = builtins.readFile ./start.sh;
    };
in
lib.genAttrs names start
