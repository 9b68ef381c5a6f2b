# What the modules make of some hosts, as JSON for scripts/tests/nix.py. `nixpkgs` has lib/ and nixos/: all modules of
# NixOS are there, so that an option that does not exist is an error. Packages are stand-ins.
{ nixpkgs, microvm ? null }:
let
  lib = import (nixpkgs + "/lib");
  repository = ../../..;
  packages = arguments: import ./packages.nix ({ inherit lib; } // arguments);
  evaluate =
    pkgs: modules:
    lib.evalModules {
      specialArgs.modulesPath = nixpkgs + "/nixos/modules";
      modules = import (nixpkgs + "/nixos/modules/module-list.nix") ++ modules ++ [
        {
          # It sets options that trees older than microvm.nix do not have, and none that matter here.
          disabledModules = lib.optional (microvm != null) (microvm + "/nixos-modules/microvm/optimization.nix");
          _module.args = { pkgs = lib.mkForce pkgs; baseModules = [ ]; extraModules = [ ]; modules = [ ]; };
          system.stateVersion = lib.mkDefault lib.trivial.release;
        }
      ];
    };
  # Assertions and warnings of ours alone: those of all of NixOS would look at packages that are not there. What others
  # would declare is taken as it comes.
  own =
    host:
    let
      anything = lib.mkOption { type = lib.types.attrsOf lib.types.anything; };
      inherit (lib.evalModules {
        modules = [
          (nixpkgs + "/nixos/modules/misc/assertions.nix")
          (repository + "/modules/pipeline.nix")
          host
          {
            config._module.args = { pkgs = packages { }; utils.escapeSystemdExecArgs = toString; };
            options = lib.genAttrs [ "boot" "environment" "networking" "systemd" ] (_: anything) // {
              services = lib.genAttrs [ "apache-kafka" "clickhouse" "grafana" "prometheus" ] (_: anything);
            };
          }
        ];
      }) config;
    in
    {
      assertions = map (assertion: assertion.message) (lib.filter (assertion: !assertion.assertion) config.assertions);
      inherit (config) warnings;
    };

  hosts = import ./hosts.nix;
  host =
    name:
    let
      host = hosts.${name};
      # As if for another machine: the file is then not run through a program that cannot run, and shows its content.
      cross = evaluate (packages { system = "aarch64-linux"; buildSystem = "x86_64-linux"; }) [ (repository + "/modules/pipeline.nix") host ];
      system = evaluate (packages { }) [ (repository + "/modules/pipeline.nix") host ];
      inherit (system) config;
      unit = name: config.systemd.units.${name}.text or null;
    in
    own host
    // { enable = config.services.xtcp2.enable; }
    // lib.optionalAttrs (config.services.xtcp2.enable && (own host).assertions == [ ]) {
      unit = unit "xtcp2.service";
      wantedBy = config.systemd.services.xtcp2.wantedBy;
      socket = unit "xtcp2.socket";
      pipeline = unit "xtcp2-pipeline.service";
      shipsUnit = lib.elem "/nix/store/xtcp2" (map toString config.systemd.packages);
      file = cross.config.environment.etc."xtcp2/xtcp2.toml".source.made;
      check = config.environment.etc."xtcp2/xtcp2.toml".source.made;
      sysctl = config.boot.kernel.sysctl."net.ipv4.tcp_child_ehash_entries" or null;
      firewall = config.networking.firewall.allowedTCPPorts;
    };

  pipeline =
    let
      inherit (evaluate (packages { }) [ (repository + "/modules/pipeline.nix") { services.xtcp2 = { pipeline.enable = true; topic = "sockets"; }; } ]) config;
    in
    {
      script = config.systemd.services.xtcp2-pipeline.script;
      clickhouse = config.systemd.services.clickhouse.preStart;
      kafka = config.services.apache-kafka.settings;
      prometheus = { inherit (config.services.prometheus) scrapeConfigs; rules = map toString config.services.prometheus.ruleFiles; };
      sources = config.services.grafana.provision.datasources.settings.datasources;
      dashboards = map (provider: toString provider.options.path) config.services.grafana.provision.dashboards.settings.providers;
      grafana = config.systemd.services.grafana.preStart;
      secretKey = config.services.grafana.settings.security.secret_key;
    };

  # The words of an enumeration, or of a list of one; its payload was a bare list in older nixpkgs.
  enumeration =
    type:
    if type.name == "listOf" then
      enumeration type.nestedTypes.elemType
    else if type.name == "enum" then
      type.functor.payload.values or type.functor.payload
    else
      null;
  # The options that are declared, to be compared with the daemon's flags.
  keys = lib.mapAttrs (_: option: {
    inherit (option) description;
    words = enumeration option.type.nestedTypes.elemType;
  }) (import (repository + "/modules/settings.nix") { inherit lib; });
  inherit (evaluate (packages { }) [ (repository + "/modules/pipeline.nix") ]) options;
  declared = map (option: { inherit (option) name; documented = (option.description or null) != null; }) (
    lib.optionAttrSetToDocList options.services.xtcp2
  );

  # flake.nix, called as Nix calls it, with stand-ins for what it would fetch.
  flake =
    let
      outputs = (import (repository + "/flake.nix")).outputs {
        inherit microvm;
        nixpkgs = {
          outPath = nixpkgs;
          lib = lib // { nixosSystem = arguments: evaluate (packages { inherit (arguments) system; }) ([ unbuilt ] ++ arguments.modules); };
          legacyPackages = lib.genAttrs [ "x86_64-linux" "aarch64-linux" ] (system: packages { inherit system; });
        };
        self = outputs // { shortRev = "abcdef0"; outPath = toString repository; };
      };
      # What a guest boots is made of real packages.
      unbuilt = {
        microvm.initrdPath = lib.mkForce "/nix/store/initrd";
        microvm.kernelParams = lib.mkForce [ "init=/nix/store/system/init" ];
        microvm.systemSymlink = false;
      };
      guest =
        system: name: kvm:
        let
          pkgs = packages { inherit system; };
          result = evaluate pkgs [
            unbuilt
            (microvm + "/nixos-modules/microvm")
            (repository + "/modules/pipeline.nix")
            (import (repository + "/microvms/guest.nix") { inherit name kvm; inherit (pkgs) xtcp2-soak; pipeline = pkgs.writeShellScriptBin "pipeline" ""; })
          ];
          inherit (result) config;
        in
        {
          runner = config.microvm.runner.qemu.made;
          script = config.systemd.services.scenario.script;
          docker = config.virtualisation.docker.enable;
          inherit (config.microvm) vcpu mem;
          inherit (config.services.xtcp2) port;
          dest = config.services.xtcp2.settings.dest;
          started = lib.filter (name: config.systemd.services.${name}.wantedBy != [ ]) [ "xtcp2" "scenario" ];
        };
      systems = lib.genAttrs [ "x86_64-linux" "aarch64-linux" ];
      names = map (lib.removeSuffix ".toml") (lib.attrNames (builtins.readDir (repository + "/microvms/scenarios")));
    in
    {
      outputs = lib.attrNames outputs;
      packages = lib.mapAttrs (_: lib.mapAttrs (_: package: "${package}")) outputs.packages;
      checks = lib.mapAttrs (_: lib.mapAttrs (_: check: "${check}")) outputs.checks;
      apps = lib.mapAttrs (_: lib.mapAttrs (_: app: app.program)) outputs.apps;
      module = (evaluate (packages { }) [ outputs.nixosModules.default ]).config.services.xtcp2.package.outPath;
      guests = systems (system: lib.genAttrs names (name: { kvm = guest system name true; tcg = guest system name false; }));
    };
in
{
  inherit declared keys pipeline;
  hosts = lib.mapAttrs (name: _: host name) hosts;
}
// lib.optionalAttrs (microvm != null) { inherit flake; }
