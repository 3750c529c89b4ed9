"""What engines that interpret plan.txt share: their fusions, and how a rank's folder is written."""
