// Load by gosnmp, as a program that polls many agents is written with it: one connection per
// agent, kept open, and a number of goroutines that share the agents among them.
//
// It prints {"requests", "varbinds", "errors", "seconds", "cpu_seconds"}; requests are GETs or
// walks. Every value is decoded to gosnmp's own types, which is all that it offers.
package main

import (
	"encoding/binary"
	"flag"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/gosnmp/gosnmp"
)

type counts struct{ requests, varbinds, errors int }

func main() {
	first := flag.String("first", "127.1.0.1", "address of the first agent")
	targets := flag.Int("targets", 1000, "number of agents")
	port := flag.Int("port", 16200, "their port")
	mode := flag.String("mode", "get", "get or walk")
	oids := flag.String("oids", "1.3.6.1.2.1.1.3.0", "what to get, or the subtrees to walk")
	repetitions := flag.Uint("max-repetitions", 25, "rows per GETBULK")
	workers := flag.Int("goroutines", 64, "goroutines")
	lasting := flag.Duration("for", 5*time.Second, "how long")
	flag.Parse()

	agents := connect(*first, *targets, *port, uint32(*repetitions))
	list := strings.Split(*oids, ",")
	cpu, began := cpuSeconds(), time.Now()
	until := began.Add(*lasting)
	results := make([]counts, *workers)
	var group sync.WaitGroup
	for worker := 0; worker < *workers; worker++ {
		group.Add(1)
		go func(worker int) {
			defer group.Done()
			results[worker] = load(agents, worker, *workers, *mode, list, until)
		}(worker)
	}
	group.Wait()
	elapsed, spent := time.Since(began).Seconds(), cpuSeconds()-cpu
	var sum counts
	for _, one := range results {
		sum.requests += one.requests
		sum.varbinds += one.varbinds
		sum.errors += one.errors
	}
	fmt.Printf("{\"requests\": %d, \"varbinds\": %d, \"errors\": %d, \"seconds\": %f, \"cpu_seconds\": %f}\n",
		sum.requests, sum.varbinds, sum.errors, elapsed, spent)
}

func connect(first string, count, port int, repetitions uint32) []*gosnmp.GoSNMP {
	base := binary.BigEndian.Uint32(net.ParseIP(first).To4())
	agents := make([]*gosnmp.GoSNMP, count)
	for n := range agents {
		address := make(net.IP, 4)
		binary.BigEndian.PutUint32(address, base+uint32(n))
		agents[n] = &gosnmp.GoSNMP{
			Target: address.String(), Port: uint16(port), Community: "public",
			Version: gosnmp.Version2c, Timeout: time.Second, Retries: 3,
			MaxOids: gosnmp.MaxOids, MaxRepetitions: repetitions,
		}
		if err := agents[n].Connect(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	return agents
}

// load asks every agent whose number is worker modulo workers, by turns, until the time is over.
func load(agents []*gosnmp.GoSNMP, worker, workers int, mode string, oids []string, until time.Time) counts {
	var done counts
	for turn := 0; ; turn++ {
		for n := worker; n < len(agents); n += workers {
			if !time.Now().Before(until) {
				return done
			}
			if mode == "walk" {
				rows, err := agents[n].BulkWalkAll(oids[turn%len(oids)])
				done.note(len(rows), err)
			} else {
				reply, err := agents[n].Get(oids)
				if err != nil {
					done.note(0, err)
				} else {
					done.note(len(reply.Variables), nil)
				}
			}
		}
	}
}

func (done *counts) note(varbinds int, err error) {
	done.varbinds += varbinds
	if err != nil {
		done.errors++
	} else {
		done.requests++
	}
}

func cpuSeconds() float64 {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		return 0
	}
	seconds := func(t syscall.Timeval) float64 { return float64(t.Sec) + float64(t.Usec)/1e6 }
	return seconds(used.Utime) + seconds(used.Stime)
}
