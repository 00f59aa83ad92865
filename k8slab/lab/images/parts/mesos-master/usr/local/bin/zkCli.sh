#!/bin/sh
# ZooKeeper's own command line: zkCli.sh [-server HOST:PORT] [COMMAND…]
exec java -Xmx64m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -XX:-UsePerfData -Dorg.slf4j.simpleLogger.defaultLogLevel=warn \
    -cp /usr/share/java/zookeeper.jar:/usr/share/java/slf4j-simple.jar org.apache.zookeeper.ZooKeeperMain "$@"
