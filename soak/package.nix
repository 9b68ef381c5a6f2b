# The soak runner, with the scenarios where it looks for them.
{ xtcp2 }:
xtcp2.overrideAttrs (old: {
  pname = "xtcp2-soak";
  cargoBuildFlags = [ "--bin" "xtcp2-soak" ];
  postInstall = ''
    install -Dm 0644 -t $out/share/xtcp2/scenarios microvms/scenarios/*.toml
  '';
  meta = old.meta // {
    description = "Runs soaks of xtcp2 and judges them, reconciles tables with what was produced, feeds ClickHouse from Kafka";
    mainProgram = "xtcp2-soak";
  };
})
