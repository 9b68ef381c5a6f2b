# scripts/pipeline where there is no repository: a soak's Kafka and ClickHouse from nixpkgs.
{ runCommand, makeWrapper, python3, apacheKafka, clickhouse, jre_headless, lib }:
runCommand "xtcp2-pipeline" { nativeBuildInputs = [ makeWrapper ]; meta.mainProgram = "pipeline"; } ''
  # Laid out as pipeline.py expects a repository.
  mkdir -p $out/scripts $out/proto $out/target
  cp -r ${lib.sourceFilesBySuffices ./. [ ".py" ]} $out/scripts/pipeline.d
  cp -r ${../../proto/clickhouse} $out/proto/clickhouse
  ln -s ${apacheKafka}/libs $out/target/kafka
  makeWrapper ${python3.interpreter} $out/bin/pipeline --add-flags $out/scripts/pipeline.d/pipeline.py \
    --prefix PATH : ${lib.makeBinPath [ clickhouse jre_headless ]} \
    --set XTCP2_PIPELINE_FEEDER 1
''
