# SPDX-License-Identifier: GPL-2.0
# gnuplot -e "csv='...'; out='...'; family='policy'": the worst look-up, by rules
set terminal svg size 720,440 font "sans,12" background "white"
set output out
set datafile separator ","
set datafile missing ""
set logscale xy
set xlabel "rules"
set ylabel "instructions, worst look-up"
set title family
set key outside right
set grid ytics
set format y "%.0f"
set format x "%.0f"
worst(c) = sprintf("<grep '^%s,[0-9]*,[0-9]*,%s,,' '%s'", family, c, csv)
names = "linear hashes pruned classes tuplemerge bitvec"
max(a, b) = a > b ? a : b
plot for [c in names] worst(c) using 2:(max($8, $11)) with linespoints lw 2 title c
