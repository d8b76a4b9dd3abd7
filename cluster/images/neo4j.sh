#!/bin/sh
# The programs neo4j and neo4j-admin: the distribution's scripts start the same classes.
case "$(basename "$0")" in
    neo4j) class=org.neo4j.server.startup.Neo4jCommand ;;
    *) class=org.neo4j.server.startup.Neo4jAdminCommand ;;
esac
exec java -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -cp "$NEO4J_HOME/lib/*" "-Dbasedir=$NEO4J_HOME" "$class" "$@"
