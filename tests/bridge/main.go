// The engine that Bento and Benthos share, with the parts that the bridge of examples/pagerduty
// needs: it serves HTTP and checks signatures. The output to Kafka is not among them.
package main

import (
	"context"

	_ "github.com/redpanda-data/benthos/v4/public/components/io"
	_ "github.com/redpanda-data/benthos/v4/public/components/pure"
	"github.com/redpanda-data/benthos/v4/public/service"
)

func main() {
	service.RunCLI(context.Background())
}
