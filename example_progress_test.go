package parallel_test

import (
	"bytes"
	"context"
	"fmt"
	"log"
	"strings"

	"github.com/gojoblib/parallel"
)

// screen is what a terminal of 80 columns would get; as a rule one gives os.Stderr.
type screen struct{ bytes.Buffer }

func (*screen) TerminalSize() (columns, rows int) { return 80, 24 }

// What tasks log stands above the bar.
func ExampleProgressWriter() {
	var terminal screen
	logger := log.New(parallel.ProgressWriter(&terminal), "", 0) // or log.SetOutput(parallel.ProgressWriter(os.Stderr))
	_, err := parallel.Map(context.Background(), []string{"a.txt", "b.txt"}, func(_ context.Context, file string) (int, error) {
		logger.Print(file, " is empty")
		return 0, nil
	}, parallel.NJobs(1), parallel.Progress(&terminal))
	lines := strings.Split(terminal.String(), "\n")
	fmt.Println(lines[0])
	fmt.Println(lines[1])
	fmt.Println(strings.Contains(lines[2], "2/2"), err)
	// Output:
	// a.txt is empty
	// b.txt is empty
	// true <nil>
}
