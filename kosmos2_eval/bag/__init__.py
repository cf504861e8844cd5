"""Evaluation of a model, or of a node's recorded answers, on a robot recording.

recording   the bag, the commands and labels that apply to each image (read by kosmos2_data)
predictors  a model that runs now, or the node's answers as recorded
evaluation  the loop over batches of images, which can be interrupted and resumed
queries     one phrase asked of one image: the truth and the prediction
metrics     metrics of all queries
results     the output files; summary: tables; report: the HTML page; overlay: boxes for Foxglove
"""
